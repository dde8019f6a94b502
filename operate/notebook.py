"""What a notebook calls: draft a contract, run, look at the report, ask for the champion, score.

    from steward import champion, contract, report, run, score

Data are what every command takes: a name, a path, an address of a database, or a table of pandas, polars or pyarrow.
"""

import tempfile
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.errors import UsageError
from operate.console import case_module, console_logging, require_case

if TYPE_CHECKING:
    import pandas as pd

    from flows.recording.outcome import RunOutcome

# Pixels of a report inside a notebook.
HEIGHT = 800


@dataclass(frozen=True)
class ReportPage:
    """A report as a page; a notebook shows it."""

    path: Path

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="{HEIGHT}" style="border: 0"></iframe>'


def contract(
    data: Any,
    case: str,
    to: str | Path,
    target: str | None = None,
    positive: str | None = None,
    above: float | None = None,
    classes: bool = False,
) -> str:
    """Draft the contract of files or of a table, write it to the new file `to`, and return its path.

    Numbers of the target above `above` are the positive class. With `classes`, each class of the target is predicted.
    What is doubtful is marked `review` in the file: look at it before you rely on a model. Raises UsageError.
    """
    import json

    from operate.contract import draft_cells, read_cells, requested_kind
    from operate.new_file import write_new
    from tasks.data_access.tables_in_memory import is_table, table_file
    from tasks.settings import load

    path, settings = Path(to), load()
    if path.suffix != ".json":
        raise UsageError("a new file NAME.json for the contract", str(to), "name such a file")
    kind = requested_kind(case, classes, positive)
    files: str | list[str]
    if is_table(data):
        settings.create_state_dir()
        files = str(table_file(data, settings.state_dir.resolve() / "store"))
    else:
        files = str(data) if isinstance(data, str | Path) else [str(part) for part in data]
    rows, request = read_cells(files, kind)
    given = () if positive is None else (positive,)
    read = {**request.read, "files": [f"{path.stem}.parquet"]} if is_table(data) else request.read
    request = replace(request, name=path.stem, read=read, target=target, positive=given, above=above)
    write_new(path, json.dumps(draft_cells(rows, request).source, indent=2, ensure_ascii=False) + "\n")
    return str(path)


def run(case: str, data: Any = "simulated", contract: str | None = None, **parameters: Any) -> "RunOutcome":
    """Validate, split, train, evaluate and promote; return the outcome. `parameters` are those of `steward run`.

    Raises the error of the gate that stops the run; its `outcome` has a report too.
    """
    with console_logging():
        flow = getattr(case_module(case), case.replace("-", "_"))
        outcome: RunOutcome = flow(data=data, contract=contract, **parameters)
    return outcome


def report(outcome: "RunOutcome") -> ReportPage:
    """Return the report of a run, which a notebook shows."""
    return ReportPage(Path(outcome.report))


def champion(case: str, data: str = "simulated") -> dict[str, Any]:
    """Return the last decision about the champion of a use case and data set. Raises UsageError where there is none."""
    require_case(case)
    from flows.champions import decisions

    return decisions(case, data)[-1]


def score(case: str, data: Any, contract: str = "simulated", **parameters: Any) -> "pd.DataFrame":
    """Score a table or a file with the champion of the data set `contract`; return a row for each of its rows.

    `parameters` are `reasons`, `accept_drift` and `query` of `steward score`.
    """
    with console_logging(), tempfile.TemporaryDirectory(prefix="steward-scores-") as folder:
        require_case(case)
        import pandas as pd

        from flows.scoring import score as flow

        out = Path(folder) / "scores.parquet"
        flow(case=case, data=data, out=str(out), contract=contract, **parameters)
        return pd.read_parquet(out)
