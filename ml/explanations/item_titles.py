"""Titles of the items that user examples show; rare items have no name there, so no title either."""

from collections.abc import Iterator, Sequence

import pandas as pd

from ml.explanations.user_examples import UserExample

MAX_TITLE_LENGTH = 60


def example_titles(examples: Sequence[UserExample], titles: pd.DataFrame) -> dict[str, str]:
    """Return the titles of the items of the examples; `titles` has the columns `item` and `title`."""
    shown = {item for example in examples for item in _items(example)}
    rows = titles[titles["item"].isin(shown)].sort_values("item")
    pairs = zip(rows["item"], rows["title"], strict=True)
    return {str(item): str(title)[:MAX_TITLE_LENGTH] for item, title in pairs}


def _items(example: UserExample) -> Iterator[str]:
    yield from (*example["history"], *example["chosen"])
    for recommended in example["recommended"]:
        yield recommended["item"]
        yield from (reason["item"] for reason in recommended["explanation"] or ())
