"""The disk of the state directory is full at the start of a run, or becomes full during one."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect import flow
from prefect.states import State

import steward
from flows import fintech_risk
from flows.pipeline import run
from flows.use_case import RunParameters, UseCase
from ml.contract.schema import Contract
from ml.errors import UsageError
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.constant import Constant
from tasks import settings
from tasks.split import Datasets, split_rows
from tasks.tracking import connection

QUICK = replace(
    fintech_risk.CASE, candidates={"constant": Constant()}, thresholds=QualityThresholds(min_primary=0.5)
)
Mount = Callable[..., None]
pytestmark = pytest.mark.usefixtures("contracts", "prefect_api")


def run_flow(case: UseCase) -> State[Any]:
    return flow(name=case.name)(lambda: run(case, RunParameters()))(return_state=True)


def test_a_run_starts_only_with_enough_free_space(home: Path, mount: Mount) -> None:
    mount("-t", "tmpfs", "-o", "size=100m", "tmpfs", str(home))
    state = run_flow(QUICK)
    with pytest.raises(UsageError, match=r"expected 200 MB free in .*; got 100 MB; free disk space"):
        state.result()
    assert not (home / "mlflow.db").exists()


def test_a_run_that_fills_the_disk_is_resumed_by_the_next(
    home: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mount("-t", "tmpfs", "-o", "size=50m", "tmpfs", str(home))
    monkeypatch.setattr(settings, "MIN_FREE_BYTES", 0)
    rest = home / "rest"

    def fill(rows: pd.DataFrame, contract: Contract) -> tuple[Datasets, dict[str, Any]]:
        with suppress(OSError), rest.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        return split_rows(rows, contract)

    def failing_flow(**_: Any) -> Any:
        return run_flow(replace(QUICK, split=fill)).result()

    assert steward._run_case("fintech-risk", failing_flow, {}) == (None, 1)
    (message,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fintech-risk: ")]
    assert message.startswith(f"fintech-risk: no space is left in {home}: free some and run again")

    rest.unlink()
    outcome = run_flow(QUICK).result()
    assert outcome.verdict == "promote"
    assert {"source", "validate"} <= set(outcome.reused)
    client = connection.connect(settings.load())
    experiment = client.get_experiment_by_name("fintech-risk")
    assert experiment
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]
    assert not list((home / "running").iterdir())
