"""Record the candidates of a run, and the best trials of each, as child runs in MLflow."""

from collections.abc import Sequence

from tasks.facts import LeaderboardEntry
from tasks.tracking.run import MlflowRun

# Trials of a candidate that become MLflow runs: more would hide the candidates.
MAX_TRIAL_RUNS = 10


def log_candidates(run: MlflowRun, leaderboard: Sequence[LeaderboardEntry]) -> None:
    """Log metrics, costs and parameters of each candidate as a child run."""
    for entry in leaderboard:
        costs = {
            "seconds": entry["seconds"],
            "megabytes": entry["megabytes"],
            "milliseconds_per_1000": entry["milliseconds_per_1000"],
        }
        metrics = {f"valid.{name}": value for name, value in entry["metrics"].items()} | costs
        params = {"candidate": entry["candidate"], **entry["decision"]}
        run.log_child_run(entry["candidate"], metrics, params)
        _log_trials(run, entry)


def _log_trials(run: MlflowRun, entry: LeaderboardEntry) -> None:
    trials = list(enumerate(entry["composition"].get("trials", ()), 1))
    best = sorted(trials, key=lambda numbered: (numbered[1]["pruned"], numbered[1]["loss"]))
    for number, trial in best[:MAX_TRIAL_RUNS]:
        run.log_child_run(
            f"{entry['candidate']}, trial {number}",
            {"out_of_fold.loss": trial["loss"], "seconds": trial["seconds"]},
            {"candidate": entry["candidate"], "pruned": trial["pruned"], **trial["parameters"]},
        )
