"""What candidates may know before an exam, and what they have to foretell: a log divided as its contract says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.contract.schema import SplitPolicy
from ml.interactions import event_log

# With fewer events, a user has none left to learn from when one judges and one chooses.
FEWEST_EVENTS = 3


@dataclass(frozen=True)
class Exam:
    """Events (as of `ml.interactions.event_log.log`) that are learned, that are shown as histories, and that
    come next."""

    learned: pd.DataFrame
    shown: pd.DataFrame
    following: pd.DataFrame


@dataclass(frozen=True)
class Exams:
    """The exam that chooses and the one that judges; `cuts` are their instants (seconds since 1970), if any."""

    valid: Exam
    test: Exam
    cuts: tuple[float, ...] = ()


def divide(events: pd.DataFrame, policy: SplitPolicy) -> Exams:
    """The two exams of a log, by the way that the contract names."""
    return WAYS[policy.by](events, policy)


def _by_time(events: pd.DataFrame, policy: SplitPolicy) -> Exams:
    """All that happens after an instant has to be foretold from what happened before it."""
    first, second = event_log.cuts(events, policy.valid, policy.test)
    seconds = events["seconds"]
    before, until = events[seconds < first], events[seconds < second]
    between, after = events[(seconds >= first) & (seconds < second)], events[seconds >= second]
    return Exams(Exam(before, before, between), Exam(until, until, after), (first, second))


def _by_session(events: pd.DataFrame, policy: SplitPolicy) -> Exams:
    """Of each session that begins after an instant, the last event has to be foretold from those before it.

    What is learned happened before the instant. Sessions of one event are not asked; those that choose end before the
    test begins.
    """
    first, second = event_log.cuts(events, policy.valid, policy.test)
    by_user = events.groupby("user", sort=False)["seconds"]
    begun, ended = by_user.transform("min"), by_user.transform("max")
    choosing, judging = (begun >= first) & (ended < second), begun >= second
    seconds = events["seconds"]
    return Exams(
        _last_of(events[choosing], events[seconds < first]),
        _last_of(events[judging], events[seconds < second]),
        (first, second),
    )


def _last_of(asked: pd.DataFrame, learned: pd.DataFrame) -> Exam:
    later = _later(asked)
    several = asked["user"].duplicated(keep=False).to_numpy()
    return Exam(learned, asked[several & (later > 0)], asked[several & (later == 0)])


def _by_last(events: pd.DataFrame, _: SplitPolicy) -> Exams:
    """The last event of each user judges and the one before chooses; who has fewer than three is only learned from.

    Nothing of others is held back but those events: what is learned reaches past the instants of the answers.
    """
    later = _later(events)
    enough = later + _earlier(events) + 1 >= FEWEST_EVENTS
    before, until = events[~enough | (later > 1)], events[~enough | (later > 0)]
    chooses, judges = events[enough & (later == 1)], events[enough & (later == 0)]
    return Exams(Exam(before, before, chooses), Exam(until, until, judges))


def _later(events: pd.DataFrame) -> np.ndarray:
    """How many events of the same user come after each event, shape (events,)."""
    return events.groupby("user", sort=False).cumcount(ascending=False).to_numpy()


def _earlier(events: pd.DataFrame) -> np.ndarray:
    return events.groupby("user", sort=False).cumcount().to_numpy()


# Where no order is known, the log is in that of a hash.
WAYS: Mapping[str, Callable[[pd.DataFrame, SplitPolicy], Exams]] = {
    "time": _by_time,
    "session": _by_session,
    "last": _by_last,
    "any": _by_last,
}
