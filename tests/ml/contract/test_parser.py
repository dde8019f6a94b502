"""A contract is parsed completely, with defaults for what it leaves out, or refused with a ContractError."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.read_options import ReadOptions
from ml.contract.roles import Roles, Target
from ml.contract.schema import FirstRowPer
from ml.contract.split_policy import SplitPolicy
from ml.errors import ContractError

CONTRACTS = sorted((Path(__file__).parents[3] / "expectations").glob("*/*.json"))
EXAMPLES = Path(__file__).parent / "examples"
TABLE, PURCHASES, BEHAVIOURS, SEQUENCES = (
    json.loads((EXAMPLES / f"{name}.json").read_text())
    for name in ("loans", "purchases", "behaviours", "sequences")
)


def changed(source: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy with another value at a path such as meta/read/columns; ... removes the key."""
    copy = deepcopy(source)
    *parents, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    place: Any = copy
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_contracts_of_the_project_are_valid(path: Path) -> None:
    source = json.loads(path.read_text(encoding="utf-8"))
    contract = parse(source)
    assert source["meta"]["schema_version"] == 2
    assert contract.name == f"{path.parent.name.replace('_', '-')}.{path.stem}"
    assert contract.source == source
    assert len(contract.rules) == len(source["expectations"])
    assert contract.is_recommendation == (path.parent.name == "ecommerce_recommendation")


def test_project_has_contracts() -> None:
    assert len(CONTRACTS) >= 6


def test_table_is_parsed_completely() -> None:
    contract = parse(TABLE)
    assert contract.name == "fintech-risk.loans"
    assert contract.read == ReadOptions(
        columns=TABLE["meta"]["read"]["columns"],
        files=("a.csv", "b.csv"),
        folder="branches",
        encoding="latin-1",
        separator=";",
        header=False,
        missing=("", "?"),
        strip=True,
        source_column="branch",
    )
    assert contract.roles == Roles(
        target=Target(column="bad", positive=("1", "2")),
        id="loan",
        time="day",
        group="client",
        site="branch",
        sensitive=("region",),
        ignored=("note",),
        descriptions={"age": "years"},
    )
    assert (contract.roles.target, contract.roles.positive, contract.roles.above) == ("bad", ("1", "2"), None)
    assert contract.split == SplitPolicy(by="site", test=0.3, valid=0.1, sites=("b", "7"))
    first = FirstRowPer(entity="client", order_by="day", reason="later loans depend on the first")
    assert contract.first_row_per == first
    assert contract.max_quarantined_share == 0.01
    assert contract.leakage_exceptions == {"amount": "small loans are always repaid"}
    assert contract.sentinel_values == {"age": (-1.0, 0.5, 98.0)}
    publication = {"description", "publisher", "licence", "citation", "url", "sha256"}
    assert set(contract.publication) == publication
    # The site is no feature where whole sites are held out; sensitive columns are features.
    assert contract.features == ("age", "region", "amount")
    assert not contract.is_recommendation


def test_log_is_parsed_completely_and_split_by_time() -> None:
    contract = parse(PURCHASES)
    assert (contract.read.simulator, contract.read.rows, contract.read.seed) == ("shop", 10, 3)
    roles = contract.roles
    assert (roles.user, roles.item, roles.time, roles.event_weight) == ("who", "what", "at", "pieces")
    assert roles.segment == "land"
    assert roles.allow_repeat_recommendations
    assert contract.split == SplitPolicy(by="time")
    assert contract.max_quarantined_share == 0.05
    assert contract.first_row_per is None
    assert contract.is_recommendation


def test_event_weights_are_those_of_the_contract() -> None:
    assert parse(BEHAVIOURS).event_weight_by_value == {"look": 0.25, "buy": 3.0}
    # A number is its own weight.
    assert parse(PURCHASES).event_weight_by_value == {}


def test_log_with_an_order_is_split_by_the_last_event() -> None:
    contract = parse(SEQUENCES)
    assert (contract.read.format, contract.read.row_column) == ("sequences", "place")
    assert contract.read.file_columns == ("who", "what")
    assert (contract.roles.time, contract.roles.event_order) == (None, "place")
    # Leave-one-out has no shares.
    assert contract.split == SplitPolicy(by="last", test=0.0, valid=0.0)
    timed = parse(changed(PURCHASES, "meta/split", {"by": "session", "test": 0.1}))
    assert timed.split == SplitPolicy(by="session", test=0.1, valid=0.2)


def test_rules_know_their_columns() -> None:
    rows, together, table = parse(TABLE).rules
    assert rows.name == "column_values_to_be_between(age)"
    assert (rows.action, rows.reason, rows.columns) == ("quarantine", "borrowers are adults", ("age",))
    assert together.columns == ("loan", "region")
    assert (rows.is_row_level, together.is_row_level, table.is_row_level) == (True, True, False)
    assert rows.kwargs == {"column": "age", "min_value": 18}


@pytest.mark.parametrize("by", ["hash", "stratified", "time"])
def test_site_is_a_feature_unless_sites_are_held_out(by: str) -> None:
    contract = parse(changed(TABLE, "meta/split", {"by": by}))
    assert contract.features == ("age", "region", "branch", "amount")


def test_target_may_be_a_number_or_a_number_above_a_limit() -> None:
    by_hash = changed(TABLE, "meta/split", {"by": "hash"})
    number = parse(changed(by_hash, "meta/roles/target", {"column": "amount"})).roles
    assert (number.target, number.positive, number.above) == ("amount", (), None)
    limit = parse(changed(by_hash, "meta/roles/target", {"column": "amount", "above": 0})).roles
    assert (limit.positive, limit.above) == ((), 0)


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("split", SplitPolicy()),
        ("max_quarantined_share", 0.05),
        ("first_row_per", None),
        ("leakage_exceptions", {}),
        ("sentinel_values", {}),
        ("event_weight_by_value", {}),
        ("never_recommend", {}),
        ("decay", None),
        ("item_attributes", None),
    ],
)
def test_keys_with_a_default_may_be_left_out(key: str, default: Any) -> None:
    without = {name: value for name, value in TABLE["meta"].items() if name != key}
    assert getattr(parse(changed(TABLE, "meta", without)), key) == default


def test_items_may_be_excluded_from_recommendations() -> None:
    assert parse(PURCHASES).never_recommend == {}
    recalled = parse(changed(PURCHASES, "meta/never_recommend", {"7": " recalled "}))
    assert recalled.never_recommend == {"7": "recalled"}


def test_decay_may_be_fixed() -> None:
    assert parse(PURCHASES).decay is None
    assert [parse(changed(PURCHASES, "meta/decay", decay)).decay for decay in (0.9, 1)] == [0.9, 1.0]


@pytest.mark.parametrize("key", ["description", "sha256"])
def test_publication_has_only_what_is_given(key: str) -> None:
    assert key in parse(TABLE).publication
    assert key not in parse(changed(TABLE, f"meta/{key}", ...)).publication
    assert key not in parse(changed(TABLE, f"meta/{key}", None)).publication


def test_null_means_the_same_as_a_missing_key_where_the_default_is_none() -> None:
    assert parse(changed(TABLE, "meta/roles/group", None)).roles.group is None
    assert parse(changed(TABLE, "meta/first_row_per", None)).first_row_per is None
    assert parse(changed(PURCHASES, "meta/decay", None)).decay is None


def test_contracts_are_equal_if_their_json_is() -> None:
    contract = parse(TABLE)
    assert contract == parse(deepcopy(TABLE))
    assert contract != replace(contract, split=SplitPolicy())
    with pytest.raises(AttributeError):
        contract.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        contract.split.by = "hash"


def test_source_is_the_json_as_given() -> None:
    source = deepcopy(TABLE)
    assert parse(source).source is source
    assert source == TABLE


@pytest.mark.parametrize("source", [[], "contract", None, 3])
def test_contract_is_an_object(source: Any) -> None:
    with pytest.raises(ContractError, match="an object"):
        parse(source)


@pytest.mark.parametrize("version", [3, 0, "2", 2.0, 1.0, True, None, [2]], ids=repr)
def test_other_versions_are_refused(version: Any) -> None:
    with pytest.raises(ContractError) as error:
        parse(changed(TABLE, "meta/schema_version", version))
    assert str(error.value).startswith("expected schema_version 2 in meta; got ")
    assert "use a version of steward that reads it" in error.value.next_step
    assert version != 3 or error.value.got == "3"


def test_keys_of_version_2_without_schema_version_are_refused() -> None:
    with pytest.raises(ContractError, match=r"got none; add \"schema_version\": 2 to meta"):
        parse(changed(PURCHASES, "meta/schema_version", ...))


def places(value: Any, parent: str = "") -> list[str]:
    """Return the path of every value inside a JSON document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, child in below for path in (f"{parent}{key}", *places(child, f"{parent}{key}/"))]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["age", "day", "last", "time"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
PLACES = [
    (source, path)
    for source in (TABLE, PURCHASES, BEHAVIOURS, SEQUENCES)
    for path in places(source)
    if "a.csv" not in path
]


def is_parsed_or_refused(read: Callable[[], object]) -> bool:
    try:
        read()
    except ContractError as error:
        return bool(error.next_step) and len(str(error)) < 10_000
    return True


@given(place=st.sampled_from(PLACES), value=JSON_VALUES)
def test_any_json_at_any_place_is_parsed_or_refused(place: tuple[dict[str, Any], str], value: Any) -> None:
    assert is_parsed_or_refused(lambda: parse(changed(*place, value)))


SECTIONS = (
    "read",
    "roles",
    "split",
    "first_row_per",
    "sentinel_values",
    "item_attributes",
    "decay",
    "sha256",
)


@given(
    st.dictionaries(st.sampled_from(["name", "expectations", "meta"]), JSON_VALUES)
    | st.fixed_dictionaries(
        {
            "name": st.just("toy.rows") | JSON_VALUES,
            "expectations": st.lists(
                st.dictionaries(st.sampled_from(["type", "kwargs", "meta"]), JSON_VALUES) | JSON_VALUES,
                max_size=2,
            ),
            "meta": st.dictionaries(
                st.sampled_from(["schema_version", *SECTIONS]) | st.text(max_size=2), JSON_VALUES
            ),
        }
    )
    | JSON_VALUES
)
def test_any_json_is_parsed_or_refused(source: Any) -> None:
    assert is_parsed_or_refused(lambda: parse(source))
