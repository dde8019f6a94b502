"""Bring messages into one form, so that what cannot be seen does not change an answer."""

import re
import unicodedata
from collections.abc import Iterable

# Characters of a message that count; far above the length of what customers write.
MAX_CHARACTERS = 10_000
# Kinds of characters (Unicode's general categories) that are removed: control characters, zero-width and other format
# characters, lone surrogates, private use, not assigned.
_REMOVED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_WHITESPACE = re.compile(r"\s+")
# Scripts that do not separate words: Thai, Lao, Burmese, Khmer, kana, Chinese characters.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_LETTER = re.compile(r"[^\W\d_]")
# The first messages suffice to recognise a script.
_SCRIPT_MESSAGES = 2000


class _Removal(dict[int, int | None]):
    """Map of code points for `str.translate`, which is filled as characters occur."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        if character.isspace():
            self[code] = 0x20
        else:
            self[code] = None if unicodedata.category(character) in _REMOVED else code
        return self[code]


_REMOVAL = _Removal()


def normalize(text: str) -> str:
    """Compose characters (NFC), remove what cannot be seen, collapse whitespace, cut after `MAX_CHARACTERS`.

    Removed are control, zero-width and format characters, lone surrogates, and characters without a meaning of their
    own. The result is valid Unicode, and unchanged by another call.
    """
    # Removed characters do not count, but nobody may make the work endless with them.
    text = text[: 4 * MAX_CHARACTERS]
    if not text.isascii() or not text.isprintable():
        text = unicodedata.normalize("NFC", text.translate(_REMOVAL))
    return _WHITESPACE.sub(" ", text).strip()[:MAX_CHARACTERS].rstrip()


def separates_words(texts: Iterable[str]) -> bool:
    """Tell whether most letters of the texts belong to scripts with spaces between words; True without letters."""
    letters = unspaced = 0
    for _, text in zip(range(_SCRIPT_MESSAGES), texts, strict=False):
        letters += len(_LETTER.findall(text))
        unspaced += len(_UNSPACED.findall(text))
    return 2 * unspaced <= letters
