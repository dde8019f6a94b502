"""What this process is doing now, for a terminal that shows it. Nothing of it is recorded or logged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], None]] = []


def begin(activity: str) -> None:
    """Say what runs from now on, in a few words such as "train LightGBM"."""
    for listener in _listeners:
        listener(activity)


@contextmanager
def listening(listener: Callable[[str], None]) -> Iterator[None]:
    """Pass every activity that begins to `listener` until the context is left."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
