"""Simulate messages to the customer service of a fictitious shop, with the true probability of each intent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.simulators import mailbox_phrases as phrases
from ml.simulators.draws import (
    Flags,
    Floats,
    Ints,
    draw_categories,
    identifiers,
    names_of_codes,
    spawn_generators,
)
from ml.simulators.simulation import Simulation

INTENTS = tuple(phrases.INTENTS)
OUT_OF_SCOPE = "out_of_scope"
# Share of the messages about an intent whose label is another intent, each equally likely.
LABEL_NOISE = 0.04
OUT_OF_SCOPE_SHARE = 0.10
# Share of the messages about an intent with a sentence that fits several intents, where there is one for it.
VAGUE_SHARE = 0.10
# Share of the messages that a customer sent again, nearly unchanged.
RESENT_SHARE = 0.02
_FIRST_DAY = np.datetime64("2025-01-01", "s")
_DAYS = 365  # up to and including 2025-12-31
_PRIOR = np.linspace(1.6, 0.6, len(INTENTS)) / np.linspace(1.6, 0.6, len(INTENTS)).sum()
_CHANNELS = {"email": 0.6, "app": 0.2, "chat": 0.0}
# Typing errors per letter.
_ERROR_RATE = {"email": 0.002, "app": 0.008, "chat": 0.015}
_DEPARTMENTS = ("furniture", "electronics", "outdoor", "fashion")
_KEYS = "abcdefghijklmnopqrstuvwxyz"


def simulate(rows: int, seed: int) -> Simulation:
    """Simulate one row per message in 2025, by date; two thirds are English, the others German.

    `intent` is the label that a clerk gave. It is one of twelve intents, of which 4 % are wrong (`LABEL_NOISE`), or
    `out_of_scope`, which is never wrong. About 7 % of the messages fit several intents, so that only their frequencies
    and the `department` tell which is likelier. `channel` affects how many typing errors there are.

    `oracle` has `message_id`, `intent` (what the customer wanted, also `out_of_scope`) and for each of the twelve
    intents `probability of <intent>`: that of the label, given the sentence and the department. Of messages that are
    out of scope these are the frequencies of the intents. No model of the columns can be better, apart from chance.
    """
    when_rng, intent_rng, sentence_rng, text_rng, typing_rng, label_rng = spawn_generators(rows, seed, 6)
    seconds = np.sort(np.floor(when_rng.random(rows) * _DAYS * 86_400))
    intent = intent_rng.choice(len(INTENTS), rows, p=_PRIOR)
    is_known = intent_rng.random(rows) >= OUT_OF_SCOPE_SHARE
    language = np.where(intent_rng.random(rows) < 2 / 3, "en", "de")
    channel = draw_categories(intent_rng, rows, _CHANNELS)
    department = _draw_departments(intent_rng, intent)
    vague = _draw_vague(sentence_rng, intent)
    texts = _write(text_rng, intent, np.where(is_known, vague, -2), language)
    # A message that is sent again has everything of an earlier one but its time, channel and typing errors.
    source = _resent(sentence_rng, rows)
    intent, is_known, language = intent[source], is_known[source], language[source]
    department, vague = department[source], vague[source]
    texts = _type(
        typing_rng,
        [texts[i] for i in source],
        channel.map(_ERROR_RATE).to_numpy(np.float64),
        channel == "chat",
    )
    probability = _probabilities(intent, vague, department, is_known)
    wrong = label_rng.integers(1, len(INTENTS), rows)
    is_wrong = label_rng.random(rows) < LABEL_NOISE
    label = np.where(is_wrong, (intent + wrong) % len(INTENTS), intent)
    names = (*INTENTS, OUT_OF_SCOPE)
    message_id = identifiers("M", np.arange(1, rows + 1))
    messages = pd.DataFrame(
        {
            "message_id": message_id,
            "received_at": _FIRST_DAY + seconds.astype("timedelta64[s]"),
            "channel": channel,
            "department": names_of_codes(_DEPARTMENTS, department),
            "language": pd.Series(language, dtype="str"),
            "text": pd.Series(texts, dtype="str"),
            "intent": names_of_codes(names, np.where(is_known, label, len(INTENTS))),
        }
    )
    oracle = pd.DataFrame(
        {"message_id": message_id, "intent": names_of_codes(names, np.where(is_known, intent, len(INTENTS)))}
        | {f"probability of {name}": probability[:, k] for k, name in enumerate(INTENTS)}
    )
    return Simulation(messages, oracle)


def _department_weights() -> Floats:
    """Return the probability of each department, given the intent; each intent is twice as likely in one of them."""
    weights = np.ones((len(INTENTS), len(_DEPARTMENTS)))
    weights[np.arange(len(INTENTS)), np.arange(len(INTENTS)) % len(_DEPARTMENTS)] = 2.5
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _draw_departments(rng: np.random.Generator, intent: Ints) -> Ints:
    edges = _department_weights().cumsum(axis=1)[intent]
    return np.asarray((rng.random(len(intent))[:, None] > edges[:, :-1]).sum(axis=1), np.int64)


def _draw_vague(rng: np.random.Generator, intent: Ints) -> Ints:
    """Draw the position of a vague sentence for each message, -1 for a sentence that fits its intent only."""
    fitting = np.full(len(INTENTS), -1)
    for position, (intents, _) in enumerate(phrases.VAGUE):
        fitting[[INTENTS.index(name) for name in intents]] = position
    return np.where(rng.random(len(intent)) < VAGUE_SHARE, fitting[intent], -1)


def _resent(rng: np.random.Generator, rows: int) -> Ints:
    """Return for each message the position of the one that it repeats: an earlier one, or itself."""
    source = np.arange(rows)
    again = np.flatnonzero(rng.random(rows) < RESENT_SHARE)
    source[again] = np.floor(rng.random(len(again)) * again).astype(np.int64)
    # The repetition of a repetition is one of the first message.
    for position in again:
        source[position] = source[source[position]]
    return source


def _probabilities(intent: Ints, vague: Ints, department: Ints, is_known: Flags) -> Floats:
    """Compute the probability of each label (columns): that of the intents, after label noise."""
    meant = np.zeros((len(intent), len(INTENTS)))
    meant[np.arange(len(intent)), intent] = 1.0
    for position, (names, _) in enumerate(phrases.VAGUE):
        rows = vague == position
        fits = np.isin(INTENTS, names)
        weights = _PRIOR * fits * _department_weights()[:, department[rows]].T
        meant[rows] = weights / weights.sum(axis=1, keepdims=True)
    meant[~is_known] = _PRIOR
    return np.asarray((1.0 - LABEL_NOISE) * meant + LABEL_NOISE * (1.0 - meant) / (len(INTENTS) - 1))


def _write(rng: np.random.Generator, intent: Ints, vague: Ints, language: np.ndarray) -> list[str]:
    """Write a message for each intent; `vague` is the position of a vague sentence, -1 for none, -2 out of scope."""
    draws = rng.random((len(intent), 20))
    texts = []
    for number, tongue in enumerate(language):
        position, at = int(vague[number]), iter(draws[number])
        if position == -2:
            sentence = _pick(phrases.OUT_OF_SCOPE[tongue], next(at))
        elif position == -1:
            sentence = _pick(phrases.INTENTS[INTENTS[intent[number]]][tongue], next(at))
        else:
            sentence = phrases.VAGUE[position][1][tongue]
        parts = [sentence]
        for around, share in ((phrases.DETAILS, 0.7), (phrases.DETAILS, 0.35), (phrases.CLOSINGS, 0.6)):
            if next(at) < share:
                parts.append(_pick(around[tongue], next(at)))
        if next(at) < 0.6:
            parts.insert(0, _pick(phrases.OPENINGS[tongue], next(at)))
        text = ". ".join(parts) + ("?" if next(at) < 0.2 else ".")
        texts.append(text.format_map(_slots(tongue, next(at))))
    return texts


def _pick(options: Sequence[str], draw: float) -> str:
    return options[int(draw * len(options))]


def _slots(language: str, draw: float) -> dict[str, str]:
    """Return the words for the slots of a message; the digits of one draw choose all of them."""
    digits = int(draw * 2**52)
    items, days = phrases.ITEMS[language], phrases.DAYS[language]
    chosen = {}
    for name, options in (
        ("item", items),
        ("other", items),
        ("day", days),
        ("city", phrases.CITIES),
        ("name", phrases.NAMES),
    ):
        digits, place = divmod(digits, len(options))
        chosen[name] = options[place]
    digits, number = divmod(digits, 28)
    digits, pounds = divmod(digits, 300)
    amount = f"{pounds + 5} pounds" if language == "en" else f"{pounds + 5} Euro"
    return chosen | {"number": str(number + 2), "amount": amount, "order": f"#{digits % 90_000 + 10_000}"}


def _type(
    rng: np.random.Generator,
    texts: Sequence[str],
    error_rate: npt.NDArray[np.floating[Any]],
    is_lower: pd.Series,
) -> list[str]:
    """Add typing errors: a letter that is missing, doubled, exchanged with the next, or another one."""
    errors = rng.poisson(np.array([len(text) for text in texts]) * error_rate)
    typed = []
    for text, number, lower in zip(texts, errors, is_lower, strict=True):
        for where, kind, key in rng.random((number, 3)):
            place = int(where * (len(text) - 1))
            letter, following = text[place], text[place + 1]
            if letter.isalpha() and following.isalpha():
                other = _pick(_KEYS, key)
                pair = ("", letter + letter, following + letter, other)[int(kind * 4)]
                text = text[:place] + pair + text[place + (2 if int(kind * 4) == 2 else 1) :]
        typed.append(text.lower() if lower else text)
    return typed
