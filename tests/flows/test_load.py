"""Other work on the machine changes how long a run takes, and nothing else."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
import torch
from prefect import flow

from flows import fintech_risk
from flows.pipeline import run
from flows.recording.outcome import RunOutcome
from flows.use_case import RunParameters
from ml.ensemble.presets import Preset
from ml.ensemble.stacked_ensemble import Ensemble
from ml.evaluation.quality_gate import QualityThresholds
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from ml.tabular.tabm import TabM
from tasks.ledger import Ledger
from tasks.settings import load

HOGS = 6
# The fits need about 1 s of processor time, and beside the hogs about 10 s on the clock.
TIME_BUDGET = 12.0
PRESET = Preset(
    float("inf"),
    2,
    1,
    {"logistic": Linear(), "boosting": GradientBoosting(max_rounds=50), "TabM": TabM(max_epochs=3)},
)
CASE = replace(
    fintech_risk.CASE,
    candidates={
        "constant": Constant(),
        "LightGBM": GradientBoosting(),
        "ensemble": Ensemble(presets=(PRESET,)),
    },
    thresholds=QualityThresholds(min_primary=0.5),
    time_budget=TIME_BUDGET,
)


@contextmanager
def busy_processors() -> Iterator[None]:
    """Keep all processors busy."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(HOGS)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@contextmanager
def busy_while_fitting() -> Iterator[list[str]]:
    """Keep all processors busy from the split to the leaderboard of a run, where its time is limited; yield stages."""
    seen: list[str] = []
    log = logging.getLogger("steward")
    with ExitStack() as hogs:

        def see(record: logging.LogRecord) -> bool:
            stage = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
            if stage == "split":
                hogs.enter_context(busy_processors())
            elif stage == "leaderboard":
                hogs.close()
            seen.append(stage)
            return True

        log.addFilter(see)
        try:
            yield seen
        finally:
            log.removeFilter(see)


@pytest.mark.usefixtures("prefect_api", "home", "contracts")
def test_the_same_run_on_a_busy_machine_gives_the_same_model() -> None:
    def run_afresh() -> RunOutcome:
        return flow(name=CASE.name)(lambda: run(CASE, RunParameters(fresh=True, time_budget=TIME_BUDGET)))()

    # Loading torch would count as time of the first fit.
    assert torch.get_num_threads() > 0
    first = run_afresh()
    with busy_while_fitting() as stages:
        again = run_afresh()
    fits = stages[stages.index("split") : stages.index("leaderboard")]
    assert {"train constant", "train LightGBM", "train ensemble"} <= set(fits)
    assert (first.verdict, again.verdict) == ("promote", "keep_champion")
    # The digest of the model is that of the first run.
    assert again.reason == "already decided about this model on the same test rows (ledger entry 1)"
    assert (again.candidate, again.value) == (first.candidate, first.value)
    assert first.time_budget_note == again.time_budget_note == ""
    entries = Ledger(load().ledger_dir, first.champion).entries()
    assert len(entries) == 1
