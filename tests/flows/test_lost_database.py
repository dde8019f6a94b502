"""The MLflow database becomes unreachable during a run: the status is corrected by the run or by the next one."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pytest
from prefect import flow
from prefect.states import State

from flows import fintech_risk
from flows.pipeline import run
from flows.use_case import RunParameters, UseCase
from ml.contract.schema import Contract
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.constant import Constant
from tasks.settings import load
from tasks.split import Datasets, split_rows
from tasks.tracking import connection as tracking

QUICK = replace(
    fintech_risk.CASE, candidates={"constant": Constant()}, thresholds=QualityThresholds(min_primary=0.5)
)


def run_flow(case: UseCase) -> State[Any]:
    return flow(name=case.name)(lambda: run(case, RunParameters()))(return_state=True)


@pytest.fixture
def set_database_open(
    postgres: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[bool], None]]:
    """Open or close the MLflow database to connections; closing also ends the existing ones."""
    monkeypatch.setenv("STEWARD_TRACKING_URI", postgres("lost"))

    def open_or_shut(is_open: bool) -> None:
        with closing(psycopg2.connect(postgres("postgres"))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER DATABASE lost ALLOW_CONNECTIONS {is_open}")
                if not is_open:
                    cursor.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost'"
                    )

    yield open_or_shut
    open_or_shut(True)


def test_a_run_that_loses_its_database_is_reconciled_by_the_next(
    set_database_open: Callable[[bool], None], home: Path, contracts: Path, prefect_api: str
) -> None:
    def lose(rows: pd.DataFrame, contract: Contract) -> tuple[Datasets, dict[str, Any]]:
        set_database_open(False)
        return split_rows(rows, contract)

    lost = run_flow(replace(QUICK, split=lose))
    assert lost.is_failed()
    set_database_open(True)
    client = tracking.connect(load())
    experiment = client.get_experiment_by_name("fintech-risk")
    assert experiment
    (before,) = client.search_runs([experiment.experiment_id])
    assert before.info.status == "RUNNING"  # the run could not change it

    resumed = run_flow(QUICK)
    assert resumed.is_completed()
    assert resumed.result().verdict == "promote"
    # Results from before the loss are reused.
    assert {"source", "validate"} <= set(resumed.result().reused)
    after = client.get_run(before.info.run_id)
    assert (after.info.status, after.data.tags["steward.verdict"]) == ("FAILED", "stopped")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(r.info.status for r in runs) == ["FAILED", "FINISHED", "FINISHED"]
