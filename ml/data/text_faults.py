"""Find texts that are faults of a table: empty, too long, with a NUL, or read in a wrong encoding; and foreign scripts.

Only masks and counts leave this module, never a text.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

EMPTY = "a text without a visible character"
NUL = "a text with a NUL character"
WRONG_ENCODING = "a text in a wrong encoding"
# White space, control and invisible characters.
_INVISIBLE = (
    r"^[\s\x00-\x20\x7f-\xa0\xad\u034f\u061c\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufe0f\ufeff]*$"
)
# What Windows-1252 makes of the bytes from 80 to BF, without quotes and dashes, which may follow a capital letter.
_OF_BYTES = bytes([0x80, *range(0x82, 0x8D), 0x8E, 0x95, *range(0x98, 0x9D), 0x9E, 0x9F]).decode("cp1252")
_CONTINUATION = f"[\u00a0-\u00bf{_OF_BYTES}]"
_QUOTES_AND_DASHES = bytes([0x93, 0x94, 0x98, 0x99, 0x9C, 0xA2, 0xA6]).decode("cp1252")
# What the bytes of UTF-8 look like when they are read one by one, and what broken text becomes in other ways.
_BROKEN = "|".join(
    (
        "\ufffd",  # a replacement character
        "[\u0080-\u0084\u0086-\u009f]",  # control characters of Latin-1, which nobody writes
        f"Ã{_CONTINUATION}",  # accented letters
        "Â[\u00a0-\u00bf]",  # signs
        f"â€[{_QUOTES_AND_DASHES}\u009d]",  # quotes and dashes
        "ï»¿",  # a byte order mark
        "ðŸ",  # an emoji
        f"(?:[ÐÑ]{_CONTINUATION}?[ÐÑ]{_CONTINUATION}){{2}}",  # Cyrillic letters
        "锟斤拷",  # replacement characters, read as GBK
    )
)
# Scripts by the first character of each range; characters of other ranges, and signs, have none.
SCRIPTS = (
    "Latin",
    "Greek",
    "Cyrillic",
    "Hebrew",
    "Arabic",
    "Indic",
    "Thai",
    "Georgian",
    "Korean",
    "Chinese or Japanese",
)
_RANGES = (
    (0x41, 0x5B, 0),
    (0x61, 0x7B, 0),
    (0xC0, 0x250, 0),
    (0x370, 0x400, 1),
    (0x400, 0x530, 2),
    (0x590, 0x600, 3),
    (0x600, 0x780, 4),
    (0x900, 0xE00, 5),
    (0xE00, 0xF00, 6),
    (0x10A0, 0x1100, 7),
    (0x1100, 0x1200, 8),
    (0x1E00, 0x1F00, 0),
    (0x1F00, 0x2000, 1),
    (0x3040, 0x3130, 9),
    (0x3130, 0x3190, 8),
    (0x3400, 0xA000, 9),
    (0xAC00, 0xD7B0, 8),
    (0x20000, 0x32000, 9),
)
COMMON_SHARE = 0.99
# Fewer texts say nothing about what is usual.
MIN_TEXTS = 200


def text_faults(texts: pd.Series, max_length: int) -> Mapping[str, np.ndarray]:
    """Return a mask of the rows for each kind of fault; a row has at most one. A missing text is an empty one."""
    present = texts.fillna("")
    masks = {
        EMPTY: present.str.fullmatch(_INVISIBLE),
        f"a text of more than {max_length:,} characters": present.str.len() > max_length,
        NUL: present.str.contains("\x00", regex=False),
        WRONG_ENCODING: present.str.contains(_BROKEN),
    }
    found = np.zeros(len(texts), dtype=bool)
    faults = {}
    for kind, mask in masks.items():
        faults[kind] = mask.to_numpy(dtype=bool) & ~found
        found |= faults[kind]
    return faults


def foreign_script(texts: pd.Series) -> tuple[str, np.ndarray]:
    """Return the script of at least 99 % of the texts with letters, and a mask of those that are mostly in another.

    The script is empty, and so is the mask, where no script is so common, or for few texts.
    """
    scripts = main_scripts(texts.fillna("").tolist())
    counts = np.bincount(scripts[scripts >= 0], minlength=len(SCRIPTS))
    common = int(counts.argmax())
    if counts.sum() < MIN_TEXTS or counts[common] < COMMON_SHARE * counts.sum():
        return "", np.zeros(len(texts), dtype=bool)
    return SCRIPTS[common], (scripts >= 0) & (scripts != common)


def main_scripts(texts: list[str]) -> np.ndarray:
    """Return the number of the most frequent script among the letters of each text, -1 without letters, int64."""
    starts, ends, numbers = (np.array(bounds) for bounds in zip(*_RANGES, strict=True))
    result = np.full(len(texts), -1)
    for first in range(0, len(texts), 2000):
        block = texts[first : first + 2000]
        characters = np.frombuffer("".join(block).encode("utf-32-le", "surrogatepass"), np.uint32)
        owner = np.repeat(np.arange(len(block)), [len(text) for text in block])
        place = np.searchsorted(starts, characters, "right") - 1
        is_letter = (place >= 0) & (characters < ends[place])
        keys = owner[is_letter] * len(SCRIPTS) + numbers[place[is_letter]]
        counts = np.bincount(keys, minlength=len(block) * len(SCRIPTS)).reshape(len(block), -1)
        has_letters = counts.any(axis=1)
        result[first : first + len(block)][has_letters] = counts.argmax(axis=1)[has_letters]
    return result
