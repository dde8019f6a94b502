"""Faults of simulated messages: each changes clean messages as something that happens to real mailboxes does."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

# Letters of a text that was cut off, as by a column of a database that is too short.
CUT_LENGTH = 20
# Letters of another language: each letter is the one thirteen places later, so that no word stays.
OTHER_LETTERS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")
Rng = np.random.Generator
MessageDamage = Callable[[pd.DataFrame, Rng], pd.DataFrame]


def garbled_texts(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Read texts in UTF-8 as if they were in Windows-1252, so that umlauts become two signs."""
    return messages.assign(text=[text.encode().decode("cp1252", "replace") for text in messages["text"]])


def lost_letters(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Write texts in ASCII, so that each umlaut becomes a question mark."""
    return messages.assign(text=[text.encode("ascii", "replace").decode() for text in messages["text"]])


def empty_texts(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Deliver a fifth of the messages without their text."""
    return messages.assign(text=messages["text"].mask(rng.random(len(messages)) < 0.2, " "))


def cut_texts(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Cut all texts after twenty characters."""
    return messages.assign(text=messages["text"].str[:CUT_LENGTH])


def other_language(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Write all texts in a language that nobody has written in before."""
    return messages.assign(text=messages["text"].str.lower().str.translate(OTHER_LETTERS))


def pasted_template(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Add one text thousands of times: as many messages as there are, under new numbers."""
    drawn = messages.iloc[rng.integers(0, len(messages), len(messages))]
    numbers = [f"M9{number:06d}" for number in range(len(drawn))]
    pasted = drawn.assign(message_id=numbers, text=messages["text"].iloc[0])
    return pd.concat([messages, pasted]).sort_values("received_at", kind="stable", ignore_index=True)


def leaked_label(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Append the queue that a clerk has chosen to the text, as where a ticket is exported after it was sorted."""
    return messages.assign(text=messages["text"] + " [queue " + messages["intent"] + "]")


def exchanged_labels(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Give each intent the name of the next one, as where a list of codes has moved by a line."""
    intents = sorted(set(messages["intent"]) - {"out_of_scope"})
    moved = dict(zip(intents, [*intents[1:], intents[0]], strict=True))
    return messages.assign(intent=messages["intent"].replace(moved))


def label_noise(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Shuffle the labels."""
    return messages.assign(intent=rng.permutation(messages["intent"].to_numpy()))


def one_class(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Deliver all messages in the first queue, before a clerk has sorted them."""
    return messages.assign(intent="track_delivery")


def vanished_language(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Lose all messages in English."""
    return messages[messages["language"] != "en"].reset_index(drop=True)


def stale_data(messages: pd.DataFrame, rng: Rng) -> pd.DataFrame:
    """Deliver messages that are all older than those of the batch before."""
    return messages.assign(received_at=messages["received_at"] - pd.DateOffset(years=5))


MESSAGE_FAULTS: Mapping[str, MessageDamage] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        garbled_texts,
        lost_letters,
        empty_texts,
        cut_texts,
        other_language,
        pasted_template,
        leaked_label,
        exchanged_labels,
        label_noise,
        one_class,
        vanished_language,
        stale_data,
    )
}
