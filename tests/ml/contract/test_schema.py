"""A contract is checked key by key: what is right is read whole, what is wrong is named with its place."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.contract.parser import parse
from ml.contract.schema import KeepFirst, Read, Roles, SplitPolicy
from ml.errors import ContractError

CONTRACTS = sorted((Path(__file__).parents[3] / "expectations").glob("*/*.json"))

TABULAR: dict[str, Any] = {
    "name": "fintech-risk.loans",
    "expectations": [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "age", "min_value": 18},
            "meta": {"action": "quarantine", "reason": "borrowers are adults"},
        },
        {
            "type": "expect_compound_columns_to_be_unique",
            "kwargs": {"column_list": ["loan", "region"]},
            "meta": {"action": "exclude", "reason": "one line per loan and region"},
        },
        {
            "type": "expect_table_row_count_to_be_between",
            "kwargs": {"min_value": 5},
            "meta": {"action": "refuse", "reason": "a day has more"},
        },
    ],
    "meta": {
        "description": "Loans.",
        "publisher": "A bank",
        "licence": "CC0",
        "citation": "none",
        "url": "https://example.org",
        "sha256": {"a.csv": "00"},
        "read": {
            "columns": {
                "loan": "category",
                "day": "time",
                "age": "integer",
                "region": "category",
                "branch": "category",
                "client": "category",
                "amount": "number",
                "note": "category",
                "bad": "category",
            },
            "files": ["a.csv", "b.csv"],
            "folder": "branches",
            "format": "csv",
            "encoding": "latin-1",
            "separator": ";",
            "header": False,
            "missing": ["", "?"],
            "strip": True,
            "source_column": "branch",
        },
        "roles": {
            "target": {"column": "bad", "positive": ["1", 2]},
            "id": "loan",
            "time": "day",
            "group": "client",
            "site": "branch",
            "sensitive": ["region"],
            "ignored": ["note"],
            "descriptions": {"age": "years"},
        },
        "split": {"by": "site", "test": 0.3, "valid": 0.1, "sites": ["b", 7]},
        "budget": 0.01,
        "keep_first": {"per": "client", "by": "day", "reason": "later loans know the first"},
        "foretelling": {"amount": "small loans are always paid back"},
        "special": {"age": {"98.0": "unknown", "-1": "refused to say", "0.50": "a child"}},
    },
}

LOG: dict[str, Any] = {
    "name": "shop.log",
    "expectations": [],
    "meta": {
        "read": {
            "columns": {
                "who": "category",
                "what": "category",
                "at": "epoch",
                "pieces": "integer",
                "land": "category",
            },
            "simulator": "shop",
            "rows": 10,
            "seed": 3,
        },
        "roles": {
            "user": "who",
            "item": "what",
            "time": "at",
            "weight": "pieces",
            "segment": "land",
            "repeat": True,
        },
    },
}


def changed(source: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a path such as meta/read/columns; ... takes the key away."""
    copy = deepcopy(source)
    *way, last = (int(key) if key.isdigit() else key for key in path.split("/"))
    place: Any = copy
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_contract_of_the_project_is_read(path: Path) -> None:
    source = json.loads(path.read_text(encoding="utf-8"))
    contract = parse(source)
    assert contract.name == f"{path.parent.name.replace('_', '-')}.{path.stem}"
    assert contract.source == source
    assert len(contract.rules) == len(source["expectations"])
    assert contract.is_recommendation == (path.parent.name == "ecommerce_recommendation")


def test_there_are_contracts_to_read() -> None:
    assert len(CONTRACTS) >= 6


def test_a_tabular_contract_is_read_whole() -> None:
    contract = parse(TABULAR)
    assert contract.name == "fintech-risk.loans"
    assert contract.read == Read(
        columns=TABULAR["meta"]["read"]["columns"],
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
        target="bad",
        positive=("1", "2"),
        id="loan",
        time="day",
        group="client",
        site="branch",
        sensitive=("region",),
        ignored=("note",),
        descriptions={"age": "years"},
    )
    assert contract.split == SplitPolicy("site", 0.3, 0.1, ("b", "7"))
    assert contract.keep_first == KeepFirst("client", "day", "later loans know the first")
    assert contract.budget == 0.01
    assert contract.foretelling == {"amount": "small loans are always paid back"}
    assert contract.special == {"age": (-1.0, 0.5, 98.0)}
    assert set(contract.about) == {"description", "publisher", "licence", "citation", "url", "sha256"}
    # The site is no feature where whole sites are left out; sensitive columns are features.
    assert contract.features == ("age", "region", "amount")
    assert not contract.is_recommendation


def test_a_log_is_read_whole_and_divided_by_time() -> None:
    contract = parse(LOG)
    assert (contract.read.simulator, contract.read.rows, contract.read.seed) == ("shop", 10, 3)
    roles = contract.roles
    assert (roles.user, roles.item, roles.time, roles.weight) == ("who", "what", "at", "pieces")
    assert roles.segment == "land"
    assert roles.repeat
    assert contract.split == SplitPolicy("time")
    assert contract.budget == 0.05
    assert contract.keep_first is None
    assert contract.is_recommendation


BEHAVIOURS: dict[str, Any] = {
    "name": "shop.behaviours",
    "expectations": [],
    "meta": {
        "read": {
            "columns": {"who": "category", "what": "category", "at": "epoch", "did": "category"},
            "files": ["a.csv"],
        },
        "roles": {"user": "who", "item": "what", "time": "at", "weight": "did"},
        "weights": {"look": 0.25, "buy": 3},
    },
}


def test_behaviours_have_the_weights_that_the_contract_gives_them() -> None:
    assert parse(BEHAVIOURS).weights == {"look": 0.25, "buy": 3.0}
    # A number is a weight already.
    assert parse(LOG).weights == {}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("meta/weights", ..., "expected a weight of each value of 'did' in meta.weights; got none"),
        ("meta/weights", {}, "expected a weight of each value of 'did' in meta.weights; got none"),
        ("meta/weights", [1], "expected an object in meta.weights; got list"),
        ("meta/weights/look", 0, "expected a number above 0 in meta.weights['look']; got 0"),
        ("meta/weights/look", -0.5, "expected a number above 0 in meta.weights['look']; got -0.5"),
        ("meta/weights/look", float("nan"), "expected a number above 0 in meta.weights['look']; got nan"),
        ("meta/weights/look", float("inf"), "expected a number above 0 in meta.weights['look']; got inf"),
        ("meta/weights/look", "1", "expected a number in meta.weights['look']; got str"),
        ("meta/weights/look", True, "expected a number in meta.weights['look']; got bool"),
        ("meta/roles/weight", ..., "expected a category with the role weight for meta.weights; got none"),
        ("meta/read/columns/did", "integer", "the role weight for meta.weights; got 'integer'"),
        ("meta/read/columns/did", "time", "number or integer for the weight 'did' in meta.roles; got 'time'"),
        ("meta/roles/weight", "nowhere", "expected columns of meta.read.columns in meta.roles"),
    ],
    ids=str,
)
def test_each_mistake_about_weights_is_named(path: str, value: Any, said: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(changed(BEHAVIOURS, path, value))
    assert said in str(caught.value)
    assert caught.value.next_step


SEQUENCES: dict[str, Any] = {
    "name": "ecommerce-recommendation.sequences",
    "expectations": [],
    "meta": {
        "read": {
            "columns": {"who": "category", "what": "category", "place": "integer"},
            "files": ["a.txt"],
            "format": "sequences",
            "separator": " ",
            "header": False,
            "row_column": "place",
        },
        "roles": {"user": "who", "item": "what", "position": "place"},
    },
}


def test_a_log_of_known_order_is_read_whole_and_divided_by_the_last() -> None:
    contract = parse(SEQUENCES)
    assert (contract.read.format, contract.read.row_column) == ("sequences", "place")
    assert contract.read.in_files == ("who", "what")
    assert (contract.roles.time, contract.roles.position) == (None, "place")
    # No share is said to hold where none does.
    assert contract.split == SplitPolicy("last", 0.0, 0.0)
    timed = parse(changed(LOG, "meta/split", {"by": "session", "test": 0.1}))
    assert timed.split == SplitPolicy("session", 0.1, 0.2)


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("meta/roles/position", ..., "meta.roles"),
        ("meta/read/columns/place", "category", "meta.read.row_column"),
        ("meta/split", {"by": "time"}, "user, item and time"),
        ("meta/split", {"by": "session"}, "user, item and time"),
        ("meta/split", {"by": "any"}, "meta.split"),
        ("meta/split", {"by": "hash"}, "meta.split.by"),
        ("meta/split", {"by": "last", "test": 0.2}, "meta.split by last"),
        ("meta/split", {"by": "last", "sites": ["a"]}, "meta.split by last"),
        ("meta/read/header", True, "format sequences"),
        ("meta/read/separator", "", "format sequences"),
        ("meta/read/columns/more", "category", "format sequences"),
        ("meta/read/row_column", "nowhere", "meta.read.row_column"),
        ("meta/read/row_column", "what", "meta.read.row_column"),
        ("meta/read/format", "lines", "meta.read.format"),
    ],
    ids=str,
)
def test_each_mistake_of_sequences_is_named_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(changed(SEQUENCES, path, value))
    assert place in str(caught.value)
    assert caught.value.next_step


def test_baskets_are_of_one_file_as_their_numbers_are() -> None:
    meta = {"read": {**SEQUENCES["meta"]["read"], "format": "baskets", "files": ["a.txt", "b.txt"]}}
    meta["read"] |= {"columns": {**meta["read"]["columns"], "file": "category"}, "source_column": "file"}
    with pytest.raises(ContractError, match="one file"):
        parse({**SEQUENCES, "meta": {**SEQUENCES["meta"], **meta}})


def test_rules_say_what_they_judge() -> None:
    rows, together, table = parse(TABULAR).rules
    assert rows.name == "column_values_to_be_between(age)"
    assert (rows.action, rows.reason, rows.columns) == ("quarantine", "borrowers are adults", ("age",))
    assert together.columns == ("loan", "region")
    assert (rows.tells_rows, together.tells_rows, table.tells_rows) == (True, True, False)


@pytest.mark.parametrize("by", ["hash", "stratified", "time"])
def test_the_site_is_a_feature_unless_sites_are_left_out(by: str) -> None:
    contract = parse(changed(TABULAR, "meta/split", {"by": by}))
    assert contract.features == ("age", "region", "branch", "amount")


def test_a_number_may_be_foretold_or_cut_in_two() -> None:
    by_hash = changed(TABULAR, "meta/split", {"by": "hash"})
    number = parse(changed(by_hash, "meta/roles/target", {"column": "amount"})).roles
    assert (number.target, number.positive, number.above) == ("amount", (), None)
    cut = parse(changed(by_hash, "meta/roles/target", {"column": "amount", "above": 0})).roles
    assert (cut.positive, cut.above) == ((), 0)


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("split", SplitPolicy()),
        ("budget", 0.05),
        ("keep_first", None),
        ("foretelling", {}),
        ("special", {}),
        ("weights", {}),
        ("blocked", {}),
        ("decay", None),
    ],
)
def test_what_has_a_default_may_be_left_out(key: str, default: Any) -> None:
    without = {name: value for name, value in TABULAR["meta"].items() if name != key}
    assert getattr(parse(changed(TABULAR, "meta", without)), key) == default


def test_items_are_blocked_for_a_reason() -> None:
    assert parse(LOG).blocked == {}
    assert parse(changed(LOG, "meta/blocked", {"7": "recalled"})).blocked == {"7": "recalled"}
    with pytest.raises(ContractError, match=r"a reason in meta\.blocked\['7'\]"):
        parse(changed(LOG, "meta/blocked", {"7": " "}))


def test_a_log_may_say_how_fast_its_events_lose_weight() -> None:
    assert parse(LOG).decay is None
    assert [parse(changed(LOG, "meta/decay", decay)).decay for decay in (0.9, 1)] == [0.9, 1.0]
    for wrong in (0, -0.5, 1.1, float("nan")):
        with pytest.raises(ContractError, match=r"above 0, and at most 1, in meta\.decay"):
            parse(changed(LOG, "meta/decay", wrong))
    with pytest.raises(ContractError, match=r"expected a number in meta\.decay; got str"):
        parse(changed(LOG, "meta/decay", "0.9"))
    with pytest.raises(ContractError, match=r"meta\.decay where there is a role item"):
        parse(changed(TABULAR, "meta/decay", 0.9))


@pytest.mark.parametrize("key", ["description", "sha256"])
def test_what_is_not_told_about_the_data_is_not_made_up(key: str) -> None:
    assert key in parse(TABULAR).about
    assert key not in parse(changed(TABULAR, f"meta/{key}", ...)).about


def test_null_is_as_good_as_nothing_where_a_role_may_be_none() -> None:
    assert parse(changed(TABULAR, "meta/roles/group", None)).roles.group is None


RULE = "expectations/0"
MISTAKES: list[tuple[str, Any, str]] = [
    # Keys that nobody reads, at every level.
    ("notes", 1, "the contract"),
    ("meta/note", 1, "meta"),
    ("meta/read/seperator", ";", "meta.read"),
    ("meta/roles/targets", "bad", "meta.roles"),
    ("meta/roles/positive", ["1"], "meta.roles"),
    ("meta/roles/target/negative", ["0"], "meta.roles.target"),
    ("meta/split/seed", 1, "meta.split"),
    ("meta/keep_first/last", True, "meta.keep_first"),
    (f"{RULE}/severity", "high", "expectations[0]"),
    (f"{RULE}/meta/why", "x", "expectations[0].meta"),
    # Keys that are missing.
    ("name", ..., "'name'"),
    ("expectations", ..., "'expectations'"),
    ("meta", ..., "'meta'"),
    ("meta/read", ..., "meta"),
    ("meta/roles", ..., "meta"),
    ("meta/read/columns", ..., "meta.read"),
    ("meta/roles/target", ..., "meta.roles"),
    ("meta/roles/target/column", ..., "meta.roles.target"),
    ("meta/keep_first/per", ..., "meta.keep_first"),
    ("meta/keep_first/reason", ..., "meta.keep_first"),
    (f"{RULE}/type", ..., "expectations[0]"),
    (f"{RULE}/kwargs", ..., "expectations[0]"),
    (f"{RULE}/meta", ..., "expectations[0]"),
    (f"{RULE}/meta/action", ..., "expectations[0].meta"),
    # Columns that are not read.
    *(
        (f"meta/roles/{role}", "nowhere", "meta.roles")
        for role in ("id", "time", "group", "site", "weight", "segment")
    ),
    ("meta/roles/target/column", "nowhere", "meta.roles"),
    ("meta/roles/sensitive", ["nowhere"], "meta.roles"),
    ("meta/roles/ignored", ["note", "nowhere"], "meta.roles"),
    ("meta/roles/descriptions", {"nowhere": "x"}, "meta.roles"),
    (f"{RULE}/kwargs/column", "nowhere", "expectations[0]"),
    ("expectations/1/kwargs/column_list/1", "nowhere", "expectations[1]"),
    (f"{RULE}/kwargs", {"column_A": "age", "column_B": "nowhere"}, "expectations[0]"),
    ("meta/keep_first/per", "nowhere", "meta.keep_first"),
    ("meta/keep_first/by", "nowhere", "meta.keep_first"),
    ("meta/foretelling", {"nowhere": "x"}, "meta.foretelling"),
    ("meta/special", {"nowhere": {"0": "x"}}, "meta.special"),
    # Words that mean nothing.
    (f"{RULE}/meta/action", "quarantaine", "expectations[0].meta.action"),
    ("meta/read/columns/age", "int", "meta.read.columns['age']"),
    ("meta/read/format", "xlsx", "meta.read.format"),
    ("meta/split/by", "random", "meta.split.by"),
    # Reasons that are missing.
    (f"{RULE}/meta/reason", ..., "expectations[0].meta"),
    (f"{RULE}/meta/reason", "  ", "expectations[0].meta"),
    ("meta/keep_first/reason", "", "meta.keep_first"),
    ("meta/foretelling/amount", " ", "meta.foretelling['amount']"),
    ("meta/special/age/98.0", " ", "meta.special['age']['98.0']"),
    ("meta/blocked", {"x": "recalled"}, "meta.blocked"),
    # Codes are different numbers of numeric columns.
    ("meta/special", {"region": {"0": "x"}}, "meta.special['region']"),
    ("meta/special", {"day": {"0": "x"}}, "meta.special['day']"),
    ("meta/special/age", {}, "meta.special['age']"),
    ("meta/special/age/98.00", "the same again", "meta.special['age']"),
    *(
        (f"meta/special/age/{code}", "x", "meta.special['age']")
        for code in ("?", "", " 9", "+9", "1e3", "nan", "inf", "1_0")
    ),
    # Expectations about the whole table tell no rows.
    ("expectations/2/meta/action", "quarantine", "expectations[2].meta.action"),
    ("expectations/2/meta/action", "exclude", "expectations[2].meta.action"),
    (f"{RULE}/type", "expect_column_values_to_be_of_type", "expectations[0].meta.action"),
    # Files.
    *(("meta/read/folder", folder, "meta.read.folder") for folder in ("", "..", "a/b", "/tmp", " a")),
    ("meta/read/files", ..., "meta.read.files"),
    ("meta/read/files", [], "meta.read.files"),
    ("meta/read/simulator", "lender", "meta.read.simulator"),
    ("meta/read/source_column", ..., "meta.read.source_column"),
    ("meta/read/join", "loan", "meta.read.join"),
    # Targets and roles that cannot be computed with.
    ("meta/roles/target/above", 1, "meta.roles.target"),
    ("meta/roles/target/positive", [], "meta.roles.target.positive"),
    ("meta/roles/target/positive", [1.0], "meta.roles.target.positive"),
    ("meta/roles/target/positive", [True], "meta.roles.target.positive"),
    ("meta/roles/target", {"column": "bad"}, "meta.roles"),
    ("meta/roles/target", {"column": "bad", "above": 1}, "meta.roles"),
    ("meta/roles/user", "client", "meta.roles"),
    ("meta/roles/time", "age", "meta.roles"),
    ("meta/roles/time", ..., "meta.roles"),
    ("meta/read/columns", {"loan": "category"}, "meta.roles"),
    # Names.
    *(("name", name, "a name such as") for name in ("loans", "Fintech.loans", "a.b.c", "a.b/c", "", " a.b")),
    # Shares.
    *(
        (f"meta/split/{part}", share, f"meta.split.{part}")
        for part in ("test", "valid")
        for share in (-0.1, 1)
    ),
    ("meta/split/test", float("nan"), "meta.split.test"),
    ("meta/split", {"test": 0.5, "valid": 0.5}, "meta.split"),
    ("meta/split", {"test": 0, "valid": 0}, "test + valid"),
    ("meta/budget", 1.5, "meta.budget"),
    ("meta/budget", True, "meta.budget"),
    # Splits without what they divide by.
    ("meta/split/sites", ..., "meta.split.sites"),
    ("meta/split/sites", [], "meta.split.sites"),
    ("meta/roles/site", ..., "meta.roles.site"),
    # JSON of another type.
    ("name", 5, "a name such as"),
    ("expectations", {}, "expectations"),
    ("expectations", "none", "expectations"),
    ("expectations/0", [], "expectations[0]"),
    (f"{RULE}/type", 3, "expectations[0].type"),
    (f"{RULE}/kwargs", ["age"], "expectations[0].kwargs"),
    (f"{RULE}/kwargs/column", ["age"], "expectations[0].kwargs.column"),
    ("expectations/1/kwargs/column_list", "loan", "expectations[1].kwargs.column_list"),
    ("expectations/1/kwargs/column_list", [["loan"]], "expectations[1].kwargs.column_list"),
    (f"{RULE}/meta", "quarantine", "expectations[0].meta"),
    (f"{RULE}/meta/action", ["warn"], "expectations[0].meta.action"),
    (f"{RULE}/meta/reason", 7, "expectations[0].meta"),
    ("meta", [], "meta"),
    ("meta/read", [], "meta.read"),
    ("meta/read/columns", ["age"], "meta.read.columns"),
    ("meta/read/columns/age", ["integer"], "meta.read.columns"),
    ("meta/read/files", "a.csv", "meta.read.files"),
    ("meta/read/header", "no", "meta.read.header"),
    ("meta/read/missing", "?", "meta.read.missing"),
    ("meta/read/missing", [0], "meta.read.missing"),
    ("meta/read/strip", "yes", "meta.read.strip"),
    ("meta/read/folder", ["a"], "meta.read.folder"),
    ("meta/read/separator", None, "meta.read.separator"),
    ("meta/read/rows", "many", "meta.read.rows"),
    ("meta/roles", "bad", "meta.roles"),
    ("meta/roles/target", "bad", "meta.roles.target"),
    ("meta/roles/target", None, "meta.roles.target"),
    ("meta/roles/target/column", ["bad"], "meta.roles.target.column"),
    ("meta/roles/target/positive", "1", "meta.roles.target.positive"),
    ("meta/roles/target", {"column": "amount", "above": "1"}, "meta.roles.target.above"),
    ("meta/roles/id", 1, "meta.roles.id"),
    ("meta/roles/sensitive", "region", "meta.roles.sensitive"),
    ("meta/roles/ignored", {"note": 1}, "meta.roles.ignored"),
    ("meta/roles/descriptions", ["age"], "meta.roles.descriptions"),
    ("meta/roles/repeat", "false", "meta.roles.repeat"),
    ("meta/split", "hash", "meta.split"),
    ("meta/split/test", "0.2", "meta.split.test"),
    ("meta/split/sites", "b", "meta.split.sites"),
    ("meta/budget", "5 %", "meta.budget"),
    ("meta/keep_first", "client", "meta.keep_first"),
    ("meta/keep_first/by", ["day"], "meta.keep_first.by"),
    ("meta/foretelling", ["amount"], "meta.foretelling"),
    ("meta/foretelling/amount", True, "meta.foretelling['amount']"),
    ("meta/foretelling", None, "meta.foretelling"),
    ("meta/special", ["age"], "meta.special"),
    ("meta/special", 0, "meta.special"),
    ("meta/special/age", None, "meta.special['age']"),
    ("meta/special/age", [98], "meta.special['age']"),
    ("meta/special/age/98.0", 98, "meta.special['age']['98.0']"),
    # Rows of a table have no weights of their own.
    ("meta/weights", {"north": 2}, "meta.weights"),
    ("meta/roles/weight", "amount", "the role weight in meta.roles of a log only"),
    ("meta/roles/segment", "region", "the role segment in meta.roles of a log only"),
    ("meta/sha256", "00", "meta.sha256"),
    ("meta/url", 3, "meta.url"),
]


@pytest.mark.parametrize(("path", "value", "place"), MISTAKES, ids=lambda v: str(v)[:40])
def test_each_mistake_is_named_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(changed(TABULAR, path, value))
    assert place in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("meta/roles/item", ..., "user, item and time"),
        ("meta/roles/time", ..., "user, item and time"),
        ("meta/roles/target", {"column": "pieces"}, "user, item and time"),
        ("meta/split", {"by": "hash"}, "meta.split.by"),
        ("meta/read/columns/what", "integer", "meta.roles"),
        ("meta/read/rows", ..., "meta.read.rows"),
        ("meta/read/rows", 1.5, "meta.read.rows"),
        ("meta/read/seed", True, "meta.read.seed"),
        ("meta/read/simulator", ..., "meta.read.simulator"),
    ],
    ids=str,
)
def test_each_mistake_of_a_log_is_named_with_its_place(path: str, value: Any, place: str) -> None:
    with pytest.raises(ContractError) as caught:
        parse(changed(LOG, path, value))
    assert place in str(caught.value)


@pytest.mark.parametrize("by", ["time", "site"])
def test_a_split_needs_the_role_that_it_divides_by(by: str) -> None:
    without = changed(changed(TABULAR, "meta/roles/time", ...), "meta/roles/site", ...)
    ignored = changed(without, "meta/roles/ignored", ["note", "day"])
    with pytest.raises(ContractError, match=rf"meta\.roles\.{by}"):
        parse(changed(ignored, "meta/split/by", by))


def test_only_classes_can_be_stratified() -> None:
    numeric = changed(TABULAR, "meta/roles/target", {"column": "amount"})
    with pytest.raises(ContractError, match=r"meta\.split\.by"):
        parse(changed(numeric, "meta/split", {"by": "stratified"}))


def test_a_contract_without_a_feature_is_refused() -> None:
    nothing = changed(TABULAR, "meta/roles/ignored", ["note", "age", "region", "amount"])
    with pytest.raises(ContractError, match="at least one feature"):
        parse(nothing)


def test_a_time_is_no_feature() -> None:
    with pytest.raises(ContractError, match=r"meta\.roles.*'day'"):
        parse(changed(TABULAR, "meta/roles/time", ...))


@pytest.mark.parametrize("source", [[], "contract", None, 3])
def test_a_contract_is_an_object(source: Any) -> None:
    with pytest.raises(ContractError, match="an object"):
        parse(source)


def places(value: Any, way: str = "") -> list[str]:
    """The path of every value inside a JSON document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, one in below for path in (f"{way}{key}", *places(one, f"{way}{key}/"))]


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["age", "day"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
PLACES = [
    (source, path) for source in (TABULAR, LOG, SEQUENCES) for path in places(source) if "a.csv" not in path
]


@given(place=st.sampled_from(PLACES), value=JSON_VALUES)
def test_any_json_anywhere_is_read_or_refused_by_name(place: tuple[dict[str, Any], str], value: Any) -> None:
    read: Callable[[], object] = lambda: parse(changed(*place, value))  # noqa: E731
    try:
        read()
    except ContractError as error:
        assert error.next_step  # noqa: PT017
