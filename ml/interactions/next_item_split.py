"""Split an event log for next-item prediction: by time, by session, or leave-one-out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.contract.split_policy import SplitPolicy
from ml.interactions import event_log

# One event to fit on, one validation target, one test target.
MIN_EVENTS = 3


@dataclass(frozen=True)
class EvaluationSplit:
    """Events (as of `event_log.to_event_log`) to fit on, those given as histories, and those to predict."""

    train: pd.DataFrame
    history: pd.DataFrame
    target: pd.DataFrame


@dataclass(frozen=True)
class Splits:
    """The validation and the test split; `cutoffs` are the instants (seconds since 1970) that separate them, if any."""

    valid: EvaluationSplit
    test: EvaluationSplit
    cutoffs: tuple[float, ...] = ()


def split_events(events: pd.DataFrame, policy: SplitPolicy) -> Splits:
    """Split an event log by the policy of its contract."""
    return SPLITTERS[policy.by](events, policy)


def _by_time(events: pd.DataFrame, policy: SplitPolicy) -> Splits:
    """Predict all events from a cutoff on from the events before it."""
    first, second = event_log.cutoffs(events, policy.valid, policy.test)
    seconds = events["seconds"]
    before_first, before_second = events[seconds < first], events[seconds < second]
    valid_target, test_target = events[(seconds >= first) & (seconds < second)], events[seconds >= second]
    return Splits(
        EvaluationSplit(before_first, before_first, valid_target),
        EvaluationSplit(before_second, before_second, test_target),
        (first, second),
    )


def _by_session(events: pd.DataFrame, policy: SplitPolicy) -> Splits:
    """Predict the last event of each session that begins after a cutoff from the other events of the session.

    Models are fitted on events before the cutoff. Sessions of one event have no target; validation sessions end before
    the test period begins.
    """
    first, second = event_log.cutoffs(events, policy.valid, policy.test)
    by_user = events.groupby("user", sort=False)["seconds"]
    started, ended = by_user.transform("min"), by_user.transform("max")
    in_valid, in_test = (started >= first) & (ended < second), started >= second
    seconds = events["seconds"]
    return Splits(
        _last_of_session(events[in_valid], events[seconds < first]),
        _last_of_session(events[in_test], events[seconds < second]),
        (first, second),
    )


def _last_of_session(sessions: pd.DataFrame, train: pd.DataFrame) -> EvaluationSplit:
    later = _events_after(sessions)
    has_history = sessions["user"].duplicated(keep=False).to_numpy()
    return EvaluationSplit(train, sessions[has_history & (later > 0)], sessions[has_history & (later == 0)])


def _by_last(events: pd.DataFrame, _: SplitPolicy) -> Splits:
    """Predict the last event of each user in test and the one before in validation (leave-one-out).

    Users with fewer than `MIN_EVENTS` events are fitted on only. Training data includes events of other users that are
    later than some targets.
    """
    later = _events_after(events)
    has_targets = later + _events_before(events) + 1 >= MIN_EVENTS
    valid_history, test_history = events[~has_targets | (later > 1)], events[~has_targets | (later > 0)]
    valid_target, test_target = events[has_targets & (later == 1)], events[has_targets & (later == 0)]
    return Splits(
        EvaluationSplit(valid_history, valid_history, valid_target),
        EvaluationSplit(test_history, test_history, test_target),
    )


def _events_after(events: pd.DataFrame) -> np.ndarray:
    """Count the later events of the same user, shape (events,)."""
    return events.groupby("user", sort=False).cumcount(ascending=False).to_numpy()


def _events_before(events: pd.DataFrame) -> np.ndarray:
    return events.groupby("user", sort=False).cumcount().to_numpy()


# For `random_last_out`, `to_event_log` has ordered the events by a hash.
SPLITTERS: Mapping[str, Callable[[pd.DataFrame, SplitPolicy], Splits]] = {
    "time": _by_time,
    "session": _by_session,
    "last": _by_last,
    "random_last_out": _by_last,
}
