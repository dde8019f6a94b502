"""What a transformer over histories does besides what every recommender does."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from ml.data.dataset import Dataset
from ml.errors import UsageError
from ml.estimator import FitResources
from ml.interactions.histories import Histories
from ml.recommenders.transformer import loss as softmax
from ml.recommenders.transformer import model as transformer
from ml.recommenders.transformer.batches import hold_out, in_own_order
from ml.recommenders.transformer.model import Transformer, TransformerModel
from ml.recommenders.transformer.network import states

ITEMS = [f"item-{number:02}" for number in range(12)]
QUICK = Transformer(
    dim=16,
    hidden=32,
    longest=6,
    dropout=0.1,
    learning_rate=0.01,
    warm_up=5,
    average=0.9,
    batch_tokens=128,
    max_epochs=8,
)
FEW = replace(QUICK, max_epochs=2)


def part(lists: list[list[str]], repeat: bool = False) -> Dataset:
    columns = {"items": lists, "times": [[float(t) for t in range(len(one))] for one in lists]}
    users = pd.Series([f"u{user:03}" for user in range(len(lists))], dtype="str")
    frame = pd.DataFrame({"user": users, **{name: pd.Series(c, dtype=object) for name, c in columns.items()}})
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64), allow_repeats=repeat)


def round_the_clock(users: int = 80) -> list[list[str]]:
    """Everyone goes on from item to item, the first after the last; some start anywhere and go once around."""
    rng = np.random.default_rng(0)
    spans = zip(rng.integers(0, 12, users), rng.integers(3, 11, users), strict=True)
    return [[ITEMS[(start + step) % 12] for step in range(length)] for start, length in spans]


def fitted(
    candidate: Transformer, lists: list[list[str]], repeat: bool = False, **more: int
) -> TransformerModel:
    return candidate.fit(part(lists, repeat), part([]), FitResources(seed=3, **more))  # type: ignore[arg-type]


@cache
def model() -> TransformerModel:
    return fitted(QUICK, round_the_clock())


def scores(of: TransformerModel, lists: list[list[str]]) -> np.ndarray:
    return of.scores(of.catalogue.sequences(part(lists).frame))


@pytest.mark.parametrize("full_softmax", [50_000, 0], ids=["full", "sampled"])
def test_what_follows_what_is_learned(full_softmax: int) -> None:
    learned = fitted(replace(QUICK, full_softmax=full_softmax, negatives=32), round_the_clock())
    asked = [[ITEMS[at - 2], ITEMS[at - 1]] for at in range(12)]
    first = learned.predict(part(asked).frame).query("rank == 1")["item"]
    assert first.tolist() == ITEMS


def test_the_order_of_events_matters_and_not_only_what_came_last() -> None:
    """After a and b, in whichever order, comes what the first of them says."""
    lists = [[first, "b" if first == "a" else "a", "x", f"after {first}"] for first in "ab"] * 40
    learned = fitted(replace(QUICK, batch_tokens=32, max_epochs=20, patience=20), lists)
    asked = part([["a", "b", "x"], ["b", "a", "x"]])
    assert learned.predict(asked.frame).query("rank == 1")["item"].tolist() == ["after a", "after b"]


def test_what_was_had_is_listed_only_where_it_may_return() -> None:
    asked = round_the_clock(5)
    for user, rows in model().predict(part(asked).frame).groupby("user"):
        assert set(rows["item"]) == set(ITEMS) - set(asked[int(str(user)[1:])])
    assert len(fitted(FEW, round_the_clock(), repeat=True).predict(part(asked).frame)) == 5 * 12


def test_names_in_the_same_order_and_the_order_of_users_change_nothing() -> None:
    one = fitted(FEW, round_the_clock())
    other = fitted(FEW, [[item.upper() for item in items] for items in round_the_clock()[::-1]])
    assert one.catalogue.items != other.catalogue.items
    assert {**one.files(), "catalogue.json": b""} == {**other.files(), "catalogue.json": b""}


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads_and_another_gives_others() -> None:
    one, two = (fitted(FEW, round_the_clock(), threads=threads).files() for threads in (1, 2))
    assert one == two
    other = FEW.fit(part(round_the_clock()), part([]), FitResources(seed=4))
    assert other.files() != one


def test_valid_is_not_looked_at() -> None:
    other = FEW.fit(part(round_the_clock()), part([["never", "seen"]]), FitResources(seed=3))
    assert other.files() == fitted(FEW, round_the_clock()).files()


def test_files_round_trip_and_name_no_user() -> None:
    files = model().files()
    back = TransformerModel.from_files(files)
    assert back.files() == files
    frame = part(round_the_clock()).frame
    pd.testing.assert_frame_equal(back.predict(frame), model().predict(frame), check_exact=True)
    assert b"u001" not in b"".join(files.values())


def test_no_place_sees_a_later_one() -> None:
    weights = {name: torch.from_numpy(one) for name, one in model().weights.items()}
    items = torch.arange(6).repeat(2, 1)
    items[1, 4:] = 9
    one, other = states(weights, model().heads, items)
    torch.testing.assert_close(one[:4], other[:4], rtol=0, atol=1e-6)
    assert (one[4:] - other[4:]).abs().max() > 0.01


def test_company_and_filler_change_no_score() -> None:
    lists = [*round_the_clock(30), [], [ITEMS[0]]]
    alone = np.vstack([scores(model(), [one]) for one in lists])
    np.testing.assert_allclose(scores(model(), lists), alone, rtol=0, atol=1e-5)


def test_blocks_of_places_change_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scores(model(), round_the_clock(30))
    monkeypatch.setattr(transformer, "TOKENS", 16)
    np.testing.assert_allclose(scores(model(), round_the_clock(30)), expected, rtol=0, atol=1e-5)


def test_a_long_history_counts_by_its_last_events() -> None:
    long = [*ITEMS[5:], *ITEMS[:7]]
    np.testing.assert_array_equal(scores(model(), [long]), scores(model(), [long[-QUICK.longest :]]))
    assert not np.array_equal(scores(model(), [long]), scores(model(), [long[-QUICK.longest + 1 :]]))


def test_unknown_items_are_skipped_and_counted() -> None:
    known, more = part([ITEMS[:3]]), part([["?", *ITEMS[:2], "never", ITEMS[2]]])
    assert model().unknown(more.frame) == 2
    pd.testing.assert_frame_equal(model().predict(more.frame), model().predict(known.frame))


def test_without_a_known_item_what_is_popular_comes() -> None:
    popular = model().catalogue.popularity
    np.testing.assert_array_equal(scores(model(), [[], ["?"]]), [popular, popular])


def test_no_time_is_one_step() -> None:
    """Where an epoch is one batch, it is as one epoch: the other one has the time to look at held-out events."""
    once = replace(QUICK, batch_tokens=10_000, max_epochs=1)
    said, lists = list[str](), round_the_clock(30)
    stopped = once.fit(part(lists), part([]), FitResources(seed=3, seconds=0.0, log_progress=said.append))
    whole = fitted(once, lists)
    assert (stopped.epochs, whole.epochs, said) == (0, 1, [])
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(stopped.weights[name], weight)


def test_training_ends_when_held_out_events_gain_no_more_and_keeps_the_best() -> None:
    said = list[str]()
    lists = round_the_clock()
    many = replace(QUICK, max_epochs=60, patience=3)
    learned = many.fit(part(lists), part([]), FitResources(seed=3, log_progress=said.append))
    assert len(said) == learned.epochs + 3
    held_out = [float(line.split()[-1]) for line in said]
    assert held_out[learned.epochs - 1] == max(held_out)
    shorter = fitted(replace(many, max_epochs=learned.epochs), lists)
    assert shorter.files() == learned.files()


def test_a_fit_goes_on_from_fewer_data_and_learns_items_that_are_new() -> None:
    """From eleven of the twelve items; the loss of its first epoch is far below that of a new fit."""
    lists = round_the_clock(300)
    few = [[item for item in one if item != ITEMS[5]] for one in lists]
    begun = fitted(QUICK, few)
    said, fresh = list[str](), list[str]()
    on = replace(QUICK, more_epochs=3).continued(
        begun, part(lists), FitResources(seed=4, log_progress=said.append)
    )
    replace(QUICK, max_epochs=1).fit(part(lists), part([]), FitResources(seed=4, log_progress=fresh.append))
    assert on.catalogue.items == tuple(ITEMS)
    assert len(said) == 3
    loss, new = (float(one[0].split()[3].rstrip(",")) for one in (said, fresh))
    assert loss < 0.6 * new
    asked = part([[ITEMS[at - 2], ITEMS[at - 1]] for at in range(12)])
    assert on.predict(asked.frame).query("rank == 1")["item"].tolist() == ITEMS


def test_without_a_step_a_fit_that_goes_on_is_where_it_began() -> None:
    lists = round_the_clock()
    on = replace(QUICK, more_epochs=0).continued(model(), part(lists), FitResources())
    for name, weight in model().weights.items():
        np.testing.assert_array_equal(on.weights[name], weight)


def test_what_is_held_out_is_the_last_event_of_a_quarter_of_those_with_three() -> None:
    lists = [ITEMS[:length] for length in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)]
    histories = model().catalogue.sequences(part(lists).frame)
    rest, asked, wanted = hold_out(histories, np.random.default_rng(0))
    chosen = np.flatnonzero(wanted >= 0)
    assert len(chosen) == 2
    assert (histories.lengths[chosen] >= 3).all()
    np.testing.assert_array_equal(wanted[chosen], histories.last(1)[chosen, 0])
    np.testing.assert_array_equal(histories.lengths - rest.lengths, (wanted >= 0).astype(int))
    np.testing.assert_array_equal(asked.lengths, np.where(wanted >= 0, rest.lengths, 0))


@pytest.mark.parametrize("lists", [[["x"]], [["x"], ["y"]], [["x", "y"]], [["x", "x"], []]], ids=str)
def test_hardly_anything_to_learn_from_will_do(lists: list[list[str]]) -> None:
    listed = fitted(FEW, lists).predict(part([["x"], []]).frame)
    assert np.isfinite(listed["score"]).all()
    assert set(listed.query("user == 'u001'")["item"]) == {item for items in lists for item in items}


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        fitted(FEW, [[]])


def test_torch_is_left_as_it_was_found() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fitted(FEW, round_the_clock(), threads=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_before_any_fit() -> None:
    with pytest.raises(UsageError, match="expected a GPU, as the device cuda was asked for; got none"):
        FitResources(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_learns_what_follows_what() -> None:
    learned = QUICK.fit(part(round_the_clock()), part([]), FitResources(seed=3, device="cuda"))
    asked = [[ITEMS[at - 2], ITEMS[at - 1]] for at in range(12)]
    assert learned.predict(part(asked).frame).query("rank == 1")["item"].tolist() == ITEMS


def positions() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States (50, 8), vectors of 30 items, targets."""
    chance = torch.Generator().manual_seed(1)
    H, E = (torch.randn(rows, 8, generator=chance) for rows in (50, 30))
    return H, E, torch.randint(30, (50,), generator=chance)


def reference(
    H: torch.Tensor, E: torch.Tensor, targets: torch.Tensor
) -> tuple[float, torch.Tensor, torch.Tensor]:
    h, e = H.clone().requires_grad_(), E.clone().requires_grad_()
    loss = functional.cross_entropy(h @ e.T, targets)
    dH, dE = torch.autograd.grad(loss, [h, e])
    return float(loss.detach()), dH, dE


def close(got: softmax.Gradients, expected: softmax.Gradients, tolerance: float) -> None:
    assert got[0] == pytest.approx(expected[0], abs=tolerance)
    for one, other in zip(got[1:], expected[1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cells", [1, 200, 2**20])
def test_the_loss_in_pieces_is_cross_entropy(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "CELLS", cells)
    close(softmax.full(*positions(), torch.float32), reference(*positions()), 1e-6)


def test_half_as_exact_products_are_near() -> None:
    close(softmax.full(*positions(), torch.bfloat16), reference(*positions()), 0.02)


@pytest.mark.parametrize("cells", [1, 2**20])
def test_with_every_item_once_as_a_negative_the_sampled_loss_is_the_full_one(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "CELLS", cells)

    def every(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.arange(30).repeat(rows, 1), torch.zeros(rows, 30)

    close(softmax.sampled(*positions(), every), reference(*positions()), 1e-6)


def test_the_correction_makes_up_for_what_is_drawn_more_often() -> None:
    frequency = torch.arange(1.0, 31.0) / 465

    def uneven(rows: int, corrected: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        items = torch.multinomial(frequency, rows * 20_000, replacement=True).view(rows, -1)
        return items, torch.log(20_000 * (frequency if corrected else torch.full((30,), 1 / 30)))[items]

    H, E, targets = positions()
    E = E + frequency[:, None]
    draws: list[Callable[[int], tuple[torch.Tensor, torch.Tensor]]] = [
        uneven,
        lambda rows: uneven(rows, False),
    ]
    torch.manual_seed(0)
    corrected, wrong = (softmax.sampled(H, E, targets, draw)[0] for draw in draws)
    expected = reference(H, E, targets)[0]
    assert corrected == pytest.approx(expected, rel=0.01)
    assert abs(wrong - expected) > 3 * abs(corrected - expected)


def test_own_order_is_the_same_for_any_order_of_users() -> None:
    lists = round_the_clock(20)
    one, other = (
        in_own_order(model().catalogue.sequences(part(order).frame)) for order in (lists, lists[::-1])
    )
    for name in ("start", "items"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert isinstance(one, Histories)
