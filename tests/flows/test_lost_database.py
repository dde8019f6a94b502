"""MLflow's database goes away in the middle of a run: the end is told truly, then or by the next run."""

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
from ml.tabular.constant import Prior
from tasks.settings import load
from tasks.split import Parts, split_rows
from tasks.tracking import connection as tracking

QUICK = replace(fintech_risk.CASE, candidates={"prior": Prior()}, thresholds=QualityThresholds(minimum=0.5))


def ended(case: UseCase) -> State[Any]:
    return flow(name=case.name)(lambda: run(case, RunParameters()))(return_state=True)


@pytest.fixture
def doors(
    postgres: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[bool], None]]:
    """Opens or shuts the database that MLflow is kept in; shut, its connections are ended and no other is let in."""
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


def test_a_run_that_loses_its_database_is_put_right_by_the_next(
    doors: Callable[[bool], None], home: Path, contracts: Path, prefect_api: str
) -> None:
    def lose(rows: pd.DataFrame, contract: Contract) -> tuple[Parts, dict[str, Any]]:
        doors(False)
        return split_rows(rows, contract)

    lost = ended(replace(QUICK, split=lose))
    assert lost.is_failed()
    doors(True)
    client = tracking.connect(load())
    experiment = client.get_experiment_by_name("fintech-risk")
    assert experiment
    (before,) = client.search_runs([experiment.experiment_id])
    assert before.info.status == "RUNNING"  # nobody could say otherwise

    found = ended(QUICK)
    assert found.is_completed()
    assert found.result().verdict == "promote"
    # What was known before the loss is not computed again.
    assert {"source", "validate"} <= set(found.result().reused)
    after = client.get_run(before.info.run_id)
    assert (after.info.status, after.data.tags["steward.verdict"]) == ("FAILED", "died")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(r.info.status for r in runs) == ["FAILED", "FINISHED", "FINISHED"]
