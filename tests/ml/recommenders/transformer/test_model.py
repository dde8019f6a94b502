"""The sequence transformer: what it learns, when training ends, its network and its losses."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from ml.data.dataset import Dataset
from ml.errors import UsageError
from ml.estimator import FitResources, WarmStartCandidate
from ml.interactions.histories import Histories
from ml.recommenders.transformer import network
from ml.recommenders.transformer.batches import leave_last_out, sorted_by_content
from ml.recommenders.transformer.model import Transformer, TransformerModel
from ml.recommenders.transformer.network import load_network

ITEMS = [f"item-{number:02}" for number in range(12)]
QUICK = Transformer(
    dim=16,
    ffn_dim=32,
    max_length=6,
    dropout=0.1,
    learning_rate=0.01,
    warmup_steps=5,
    ema_decay=0.9,
    batch_tokens=128,
    max_epochs=8,
)
TWO_EPOCHS = replace(QUICK, max_epochs=2)
# Histories of two items; the next ones in the cycle are `ITEMS`.
PAIRS = [[ITEMS[n - 2], ITEMS[n - 1]] for n in range(12)]


def dataset_of(lists: list[list[str]], repeat: bool = False) -> Dataset:
    columns = {"items": lists, "times": [[float(t) for t in range(len(items))] for items in lists]}
    users = pd.Series([f"u{user:03}" for user in range(len(lists))], dtype="str")
    frame = pd.DataFrame({"user": users, **{name: pd.Series(c, dtype=object) for name, c in columns.items()}})
    truth = pd.Series([[]] * len(frame), dtype=object)
    return Dataset(frame, truth, np.arange(len(frame), dtype=np.uint64), allow_repeats=repeat)


def cyclic_histories(users: int = 80) -> list[list[str]]:
    """Every user has some items in cyclic order, starting from a random one."""
    rng = np.random.default_rng(0)
    spans = zip(rng.integers(0, 12, users), rng.integers(3, 11, users), strict=True)
    return [[ITEMS[(start + step) % 12] for step in range(length)] for start, length in spans]


def fit(
    candidate: Transformer, lists: list[list[str]], repeat: bool = False, **more: int
) -> TransformerModel:
    return candidate.fit(dataset_of(lists, repeat), dataset_of([]), FitResources(seed=3, **more))  # type: ignore[arg-type]


@cache
def model() -> TransformerModel:
    return fit(QUICK, cyclic_histories())


def scores(model: TransformerModel, lists: list[list[str]]) -> np.ndarray:
    return model.scores(model.catalogue.encode(dataset_of(lists).frame))


@pytest.mark.parametrize("max_full_softmax_items", [50_000, 0], ids=["full", "sampled"])
def test_the_next_item_is_learned(max_full_softmax_items: int) -> None:
    learned = fit(
        replace(QUICK, max_full_softmax_items=max_full_softmax_items, negatives=32), cyclic_histories()
    )
    first = learned.predict(dataset_of(PAIRS).frame).query("rank == 1")["item"]
    assert first.tolist() == ITEMS


def test_the_order_of_earlier_events_matters() -> None:
    """After a, b, x and after b, a, x come different items."""
    lists = [[first, "b" if first == "a" else "a", "x", f"after {first}"] for first in "ab"] * 40
    learned = fit(replace(QUICK, batch_tokens=32, max_epochs=20, patience=20), lists)
    histories = dataset_of([["a", "b", "x"], ["b", "a", "x"]])
    assert learned.predict(histories.frame).query("rank == 1")["item"].tolist() == ["after a", "after b"]


def test_items_of_the_history_are_listed_only_if_repeats_are_allowed() -> None:
    lists = cyclic_histories(5)
    for user, rows in model().predict(dataset_of(lists).frame).groupby("user"):
        assert set(rows["item"]) == set(ITEMS) - set(lists[int(str(user)[1:])])
    assert len(fit(TWO_EPOCHS, cyclic_histories(), repeat=True).predict(dataset_of(lists).frame)) == 5 * 12


def test_models_do_not_depend_on_names_or_the_order_of_users() -> None:
    one = fit(TWO_EPOCHS, cyclic_histories())
    other = fit(TWO_EPOCHS, [[item.upper() for item in items] for items in cyclic_histories()[::-1]])
    assert one.catalogue.items != other.catalogue.items
    assert {**one.files(), "catalogue.json": b""} == {**other.files(), "catalogue.json": b""}


def test_models_depend_on_the_seed_and_not_on_the_number_of_threads() -> None:
    one, two = (fit(TWO_EPOCHS, cyclic_histories(), threads=threads).files() for threads in (1, 2))
    assert one == two
    other = TWO_EPOCHS.fit(dataset_of(cyclic_histories()), dataset_of([]), FitResources(seed=4))
    assert other.files() != one


def test_valid_is_ignored() -> None:
    other = TWO_EPOCHS.fit(
        dataset_of(cyclic_histories()), dataset_of([["never", "seen"]]), FitResources(seed=3)
    )
    assert other.files() == fit(TWO_EPOCHS, cyclic_histories()).files()


def test_files_round_trip_and_contain_no_user_names() -> None:
    files = model().files()
    assert set(files) == {"model.json", "catalogue.json", "weights.safetensors"}
    loaded = TransformerModel.from_files(files)
    assert loaded.files() == files
    frame = dataset_of(cyclic_histories()).frame
    pd.testing.assert_frame_equal(loaded.predict(frame), model().predict(frame), check_exact=True)
    assert b"u001" not in b"".join(files.values())


def test_positions_do_not_depend_on_later_ones() -> None:
    loaded = load_network(model().weights, model().heads)
    items = torch.arange(6).repeat(2, 1)
    items[1, 4:] = 9
    first, second = loaded(items)
    torch.testing.assert_close(first[:4], second[:4], rtol=0, atol=1e-6)
    assert (first[4:] - second[4:]).abs().max() > 0.01


def test_scores_do_not_depend_on_other_users_or_padding() -> None:
    lists = [*cyclic_histories(30), [], [ITEMS[0]]]
    alone = np.vstack([scores(model(), [items]) for items in lists])
    np.testing.assert_allclose(scores(model(), lists), alone, rtol=0, atol=1e-5)


def test_scores_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = scores(model(), cyclic_histories(30))
    monkeypatch.setattr(network, "MAX_BATCH_TOKENS", 16)
    np.testing.assert_allclose(scores(model(), cyclic_histories(30)), expected, rtol=0, atol=1e-5)


def test_only_the_last_max_length_events_count() -> None:
    long = [*ITEMS[5:], *ITEMS[:7]]
    np.testing.assert_array_equal(scores(model(), [long]), scores(model(), [long[-QUICK.max_length :]]))
    assert not np.array_equal(scores(model(), [long]), scores(model(), [long[-QUICK.max_length + 1 :]]))


def test_events_with_unknown_items_are_ignored_and_counted() -> None:
    known, more = dataset_of([ITEMS[:3]]), dataset_of([["?", *ITEMS[:2], "never", ITEMS[2]]])
    assert model().count_unknown_events(more.frame) == 2
    pd.testing.assert_frame_equal(model().predict(more.frame), model().predict(known.frame))


def test_users_without_known_items_are_scored_by_popularity() -> None:
    popular = model().catalogue.popularity
    np.testing.assert_array_equal(scores(model(), [[], ["?"]]), [popular, popular])


def test_without_time_one_step_is_made() -> None:
    """With one batch per epoch, the weights equal those of one epoch, which also evaluates held-out events."""
    one_step = replace(QUICK, batch_tokens=10_000, max_epochs=1)
    log, lists = list[str](), cyclic_histories(30)
    stopped = one_step.fit(
        dataset_of(lists), dataset_of([]), FitResources(seed=3, seconds=0.0, log_progress=log.append)
    )
    whole = fit(one_step, lists)
    assert (stopped.best_epoch, whole.best_epoch, log) == (0, 1, [])
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(stopped.weights[name], weight)


def test_early_stopping_keeps_the_best_epoch() -> None:
    log = list[str]()
    lists = cyclic_histories()
    many = replace(QUICK, max_epochs=60, patience=3)
    learned = many.fit(dataset_of(lists), dataset_of([]), FitResources(seed=3, log_progress=log.append))
    assert len(log) == learned.best_epoch + 3
    held_out = [float(line.split()[-1]) for line in log]
    assert held_out[learned.best_epoch - 1] == max(held_out)
    shorter = fit(replace(many, max_epochs=learned.best_epoch), lists)
    assert shorter.files() == learned.files()


def test_continue_fit_starts_from_earlier_weights_and_learns_new_items() -> None:
    """The earlier model has eleven of the twelve items; the first loss is far below that of a new fit."""
    lists = cyclic_histories(300)
    fewer = [[item for item in items if item != ITEMS[5]] for items in lists]
    earlier = fit(QUICK, fewer)
    continued_log, new_log = list[str](), list[str]()
    continued = replace(QUICK, max_warm_start_epochs=3).continue_fit(
        earlier, dataset_of(lists), FitResources(seed=4, log_progress=continued_log.append)
    )
    replace(QUICK, max_epochs=1).fit(
        dataset_of(lists), dataset_of([]), FitResources(seed=4, log_progress=new_log.append)
    )
    assert continued.catalogue.items == tuple(ITEMS)
    assert len(continued_log) == 3
    continued_loss, new_loss = (float(log[0].split()[3].rstrip(",")) for log in (continued_log, new_log))
    assert continued_loss < 0.6 * new_loss
    assert continued.predict(dataset_of(PAIRS).frame).query("rank == 1")["item"].tolist() == ITEMS


def test_transformer_is_a_warm_start_candidate() -> None:
    assert isinstance(Transformer(), WarmStartCandidate)


def test_continue_fit_without_steps_keeps_the_weights() -> None:
    lists = cyclic_histories()
    continued = replace(QUICK, max_warm_start_epochs=0).continue_fit(
        model(), dataset_of(lists), FitResources()
    )
    for name, weight in model().weights.items():
        np.testing.assert_array_equal(continued.weights[name], weight)


def test_leave_last_out_takes_the_last_event_of_a_quarter_of_users_with_three() -> None:
    lists = [ITEMS[:length] for length in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)]
    histories = model().catalogue.encode(dataset_of(lists).frame)
    train, held_out, targets = leave_last_out(histories, np.random.default_rng(0))
    chosen = np.flatnonzero(targets >= 0)
    assert len(chosen) == 2
    assert (histories.lengths[chosen] >= 3).all()
    np.testing.assert_array_equal(targets[chosen], histories.last_items(1)[chosen, 0])
    np.testing.assert_array_equal(histories.lengths - train.lengths, (targets >= 0).astype(int))
    np.testing.assert_array_equal(held_out.lengths, np.where(targets >= 0, train.lengths, 0))


@pytest.mark.parametrize("lists", [[["x"]], [["x"], ["y"]], [["x", "y"]], [["x", "x"], []]], ids=str)
def test_one_user_or_one_item_is_enough(lists: list[list[str]]) -> None:
    listed = fit(TWO_EPOCHS, lists).predict(dataset_of([["x"], []]).frame)
    assert np.isfinite(listed["score"]).all()
    assert set(listed.query("user == 'u001'")["item"]) == {item for items in lists for item in items}


def test_a_log_without_events_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one event"):
        fit(TWO_EPOCHS, [[]])


def test_a_fit_restores_the_global_state_of_torch() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(TWO_EPOCHS, cyclic_histories(), threads=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_an_error_before_any_fit() -> None:
    with pytest.raises(UsageError, match="expected a GPU for the device cuda; got none"):
        FitResources(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_next_item_is_learned_on_a_gpu() -> None:
    learned = QUICK.fit(dataset_of(cyclic_histories()), dataset_of([]), FitResources(seed=3, device="cuda"))
    assert learned.predict(dataset_of(PAIRS).frame).query("rank == 1")["item"].tolist() == ITEMS


def test_sorted_by_content_does_not_depend_on_the_order_of_users() -> None:
    lists = cyclic_histories(20)
    one, other = (
        sorted_by_content(model().catalogue.encode(dataset_of(order).frame)) for order in (lists, lists[::-1])
    )
    for name in ("offsets", "items"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert isinstance(one, Histories)
