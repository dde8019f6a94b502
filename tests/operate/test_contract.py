"""`steward contract`: a contract is drafted from a file, and data are checked against it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import steward
from ml.contract.parser import parse
from ml.contract.review import unreviewed
from ml.drafting.request import CaseKind
from ml.errors import DataGateError, UsageError
from ml.simulators import SIMULATORS
from operate.contract import draft_cells, read_cells
from tasks.data_access.locate import DatasetSource
from tasks.source import read_files
from tasks.storage.content_store import Store
from tasks.validate import apply_contract


def run(*arguments: str) -> str:
    result = CliRunner().invoke(steward.app, ["contract", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "my loans.csv"
    SIMULATORS["lender"](400, 0).rows.to_csv(path, index=False, sep=";")
    return path


def test_a_file_becomes_a_contract_with_a_list_of_doubts(
    loans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run(str(loans), "--case", "fintech-risk")
    assert printed.startswith("my_loans.json: 22 columns, ")
    assert "Look at this point:\n  1. roles.target: guessed" in printed
    assert "expected false alarms per batch of 400 rows: " in printed
    assert f"steward run fintech-risk --data '{loans}' --contract my_loans.json" in printed
    contract = parse(json.loads(Path("my_loans.json").read_text()))
    assert contract.name == "fintech-risk.my_loans"
    assert (contract.read.separator, contract.read.files) == (";", ("my loans.csv",))
    assert (contract.roles.target, contract.roles.id, contract.roles.time) == (
        "defaulted",
        "application_id",
        "applied_on",
    )
    with pytest.raises(UsageError, match=r"my_loans\.json, which exists"):
        run(str(loans), "--case", "fintech-risk")
    assert [path.name for path in tmp_path.iterdir()] == ["my_loans.json"]


def test_a_parquet_file_and_json_output(loans: Path, tmp_path: Path) -> None:
    path, contract = tmp_path / "loans.parquet", tmp_path / "c.json"
    pd.read_csv(loans, sep=";").to_parquet(path)
    printed = json.loads(run(str(path), "--case", "fintech-risk", "--json", "-o", str(contract)))
    assert printed["contract"] == str(contract)
    assert printed["alarms"]["refused"] == 0
    assert all(doubt["doubt"] >= 0.3 for doubt in printed["review"])
    assert json.loads(contract.read_text())["meta"]["read"]["format"] == "parquet"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "rows in bad.csv"),
        (b"a,a\n1,2\n3,4\n", r"each column once in bad.csv; got \['a'\] more than once"),
        (b"a,b\n1,2\n" * 5, "a table with at least 40 rows"),
        (b"a,b\n1,2\n3,4,5\n6,7\n", "3 cells instead of 2"),
        (b"\x00\x01\x02" * 500, "text in bad.csv; got bytes of 0"),
        (b"a" * 600 + b",b\n1,2\n3,4\n", "at most 500 characters in bad.csv"),
    ],
    ids=["empty", "repeated name", "few rows", "ragged", "binary", "long name"],
)
def test_files_that_are_no_tables_are_refused_and_leave_nothing(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_bytes(content)
    with pytest.raises((UsageError, DataGateError), match=message):
        run("bad.csv", "--case", "fintech-risk")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "a file none.csv; got none"),
        (["none.csv", "-o", "contract.txt"], "FILE.json in a folder"),
        (["none.csv", "-o", "no/folder/c.json"], "FILE.json in a folder that exists"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*arguments, "--case", "fintech-risk")


@pytest.mark.parametrize(
    ("ending", "encoding"), [(".csv", "utf-16"), (".csv.gz", "utf-8"), (".jsonl", "utf-8"), (".xlsx", "")]
)
def test_other_formats_become_the_same_contract(
    ending: str, encoding: str, loans: Path, tmp_path: Path
) -> None:
    rows, path = pd.read_csv(loans, sep=";"), tmp_path / f"loans{ending}"
    if ending == ".jsonl":
        rows.to_json(path, orient="records", lines=True)
    elif ending == ".xlsx":
        rows.to_excel(path, index=False)
    else:
        rows.to_csv(path, index=False, encoding=encoding)
    cells, request = read_cells(str(path), CaseKind("fintech-risk"))
    drafted = draft_cells(cells, replace(request, target="defaulted")).contract
    assert (drafted.roles.id, drafted.roles.time, drafted.roles.positive) == (
        "application_id",
        "applied_on",
        ("1",),
    )
    assert drafted.read.columns["income"] == "number"


def test_points_are_reviewed_and_a_page_is_written(loans: Path, tmp_path: Path) -> None:
    path, page = tmp_path / "c.json", tmp_path / "c.html"
    arguments = [str(loans), "--case", "fintech-risk", "-o", str(path), "--page", str(page), "--review"]
    result = CliRunner().invoke(
        steward.app, ["contract", *arguments], input="k\n" * 50, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert unreviewed(parse(json.loads(path.read_text()))) == []
    assert "income" in page.read_text()
    again = tmp_path / "again.json"
    run(str(loans), "--case", "fintech-risk", "-o", str(again))
    assert unreviewed(parse(json.loads(again.read_text())))
    assert run("--diff", str(again), str(path)) == "no difference\n"


def test_another_target_can_be_chosen_in_a_review(loans: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    arguments = [str(loans), "--case", "fintech-risk", "-o", str(path), "--review"]
    answers = "c\nnone\nc\nregion\nc\nwales\nk\n"
    result = CliRunner().invoke(
        steward.app, ["contract", *arguments], input=answers + "q\n", catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "that is impossible: expected a column of the file as --target" in result.output
    assert "drafted again with --target 'region' and --positive 'wales'" in result.output
    contract = parse(json.loads(path.read_text()))
    assert (contract.roles.target, contract.roles.positive) == ("region", ("wales",))


def test_each_class_of_a_table_is_predicted_on_request(loans: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    arguments = [str(loans), "--case", "fintech-risk", "--target", "region", "-o", str(path)]
    assert "each of them is predicted with --classes" in run(*arguments)
    assert parse(json.loads(path.read_text())).roles.target_kind == "binary"
    path.unlink()
    run(*arguments, "--classes")
    roles = parse(json.loads(path.read_text())).roles
    assert roles.target_kind == "multiclass"
    assert set(roles.labels) == set(pd.read_csv(loans, sep=";")["region"])
    path.unlink()
    for case, target, others, message in (
        ("fintech-risk", "region", ["--positive", "wales"], "--classes or --positive"),
        ("fintech-risk", "region", ["--above", "3"], "--above for two classes"),
        ("fintech-risk", "income", [], "a target with at most .* classes; got .* in 'income'"),
        ("ecommerce-recommendation", "region", [], "which reads logs"),
        ("product-reviews", "region", [], "got the use case product-reviews; leave --classes out"),
    ):
        with pytest.raises(UsageError, match=message):
            run(str(loans), "--case", case, "--target", target, "--classes", *others, "-o", str(path))
    assert not path.exists()


def test_a_few_lines_with_other_lengths_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = [f"{n},{n % 7},{'yes' if n % 3 else 'no'}" for n in range(400)]
    lines[100] += ",1"
    lines[200] = "5"
    path, contract = tmp_path / "t.csv", tmp_path / "c.json"
    path.write_text("\n".join(["id,visits,bad", *lines]) + "\n")
    run(str(path), "--case", "fintech-risk", "-o", str(contract))
    source = json.loads(contract.read_text())
    assert source["meta"]["read"]["ragged_lines"] == 4
    proposal = next(p for p in source["meta"]["proposals"] if p["place"] == "read.ragged_lines")
    assert proposal["reason"].startswith("2 of 400 lines")
    assert proposal["review"]


def test_several_files_are_stacked_or_joined(loans: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(loans, sep=";")
    for part in range(2):
        rows.iloc[part::2].to_csv(tmp_path / f"part{part}.csv", index=False)
    both = run(str(tmp_path / "part*.csv"), "--case", "fintech-risk", "-o", str(tmp_path / "stacked.json"))
    assert "per batch of 400 rows" in both
    assert f"--data '{tmp_path}/part*.csv'" in both
    stacked = parse(json.loads((tmp_path / "stacked.json").read_text()))
    assert (stacked.read.files, stacked.read.source_column) == (("part0.csv", "part1.csv"), "file")
    assert "file" in stacked.roles.ignored
    assert stacked.publication["description"].endswith("400 rows of 2 files: part0.csv, part1.csv.")
    source = DatasetSource("loans", stacked, (tmp_path / "part0.csv", tmp_path / "part1.csv"))
    read = read_files(source, Store(tmp_path / "store")).table("rows")
    assert read["file"].value_counts().to_dict() == {"part0": 200, "part1": 200}
    assert apply_contract(read, stacked).facts["quarantined"] <= 8
    left, right = tmp_path / "people.csv", tmp_path / "outcomes.csv"
    rows.drop(columns="defaulted").to_csv(left, index=False)
    rows[["application_id", "defaulted"]].iloc[::-1].to_csv(right, index=False)
    run(str(left), str(right), "--case", "fintech-risk", "-o", str(tmp_path / "joined.json"))
    joined = parse(json.loads((tmp_path / "joined.json").read_text()))
    assert (joined.read.join, joined.roles.id, joined.roles.target) == (
        "application_id",
        "application_id",
        "defaulted",
    )
    rows[["income"]].to_csv(tmp_path / "part2.csv", index=False)
    with pytest.raises(DataGateError, match="in one of them only"):
        read_cells([str(tmp_path / "part0.csv"), str(left)], CaseKind("fintech-risk"))


def test_files_of_equal_names_keep_their_folders_and_names_that_lead_elsewhere_are_not_kept(
    loans: Path, tmp_path: Path
) -> None:
    files = [tmp_path / folder / "loans.csv" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        shutil.copy(loans, file)
    _, request = read_cells([*map(str, files)], CaseKind("fintech-risk"))
    assert request.read["files"] == ["a/loans.csv", "b/loans.csv"]
    odd = [tmp_path / "C:loans.csv", tmp_path / "D:loans.csv"]
    for file in odd:
        shutil.copy(loans, file)
    _, request = read_cells([*map(str, odd)], CaseKind("fintech-risk"))
    assert request.read["files"] == ["data.csv"]
    assert request.doubts["files"].startswith("names only the first of 2 files")


def test_messages_by_intent_and_lines_of_json(tmp_path: Path) -> None:
    messages = {
        w: [{"data": [{"text": f"{w} number "}, {"text": str(n)}]} for n in range(30)]
        for w in ("play", "stop")
    }
    path = tmp_path / "intents.json"
    path.write_text(json.dumps(messages, indent=1))
    cells, request = read_cells(
        str(path), CaseKind("customer-service", several_classes=True, reads_texts=True)
    )
    drafted = draft_cells(cells, request).contract
    assert (drafted.read.format, drafted.roles.target, drafted.roles.text) == ("intents", "intent", ("text",))
    assert drafted.roles.labels == ("play", "stop")
    path.write_text("".join(json.dumps({"a": n, "b": n % 2}) + "\n" for n in range(60)))
    assert read_cells(str(path), CaseKind("fintech-risk"))[1].read["format"] == "jsonl"
    path.write_text(json.dumps([[1, 2], [3, 4]]))
    with pytest.raises(UsageError, match="messages by intent, in intents"):
        read_cells(str(path), CaseKind("fintech-risk"))


def test_a_review_that_is_left_keeps_the_marks(loans: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    arguments = [str(loans), "--case", "fintech-risk", "-o", str(path), "--review"]
    result = CliRunner().invoke(steward.app, ["contract", *arguments], input="q\n", catch_exceptions=False)
    assert "left)" in result.output
    assert unreviewed(parse(json.loads(path.read_text())))


def test_differences_are_printed(loans: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    run(str(loans), "--case", "fintech-risk", "-o", str(old))
    source = json.loads(old.read_text())
    source["meta"]["max_quarantined_share"] = 0.5
    new.write_text(json.dumps(source))
    assert run("--diff", str(old), str(new)) == "meta.max_quarantined_share is new: 0.5\n"
    assert json.loads(run("--diff", str(old), str(new), "--json"))["differences"]
    with pytest.raises(UsageError, match="a contract; got"):
        run("--diff", str(tmp_path / "none.json"), str(new))
    with pytest.raises(UsageError, match="--case CASE"):
        run(str(loans))
