"""A tokenizer of characters, learned from messages, for encoders that are pre-trained on them."""

from collections import Counter
from collections.abc import Sequence

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def fit_character_tokenizer(messages: Sequence[str], min_messages: int, max_tokens: int) -> bytes:
    """Return BERT's tokenizer with the characters of at least `min_messages` messages as its vocabulary.

    The most frequent `max_tokens` are kept, of equally frequent ones the first in code order. A word of letters and
    digits is taken apart into its characters, so that no name becomes a token.
    """
    from tokenizers import BertWordPieceTokenizer

    counts = Counter(character for message in messages for character in set(message.lower()) - {" "})
    frequent = sorted((-count, character) for character, count in counts.items() if count >= min_messages)
    characters = [character for _, character in frequent]
    # Within a word, a character that is not its first has another token.
    inner = [f"##{character}" for character in characters if not _stands_alone(character)]
    tokens = [*SPECIAL_TOKENS, *[*characters, *inner][: max_tokens - len(SPECIAL_TOKENS)]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    # Accents stay, as they are characters of their own here.
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True, strip_accents=False)
    return str(tokenizer.to_str()).encode()


def _stands_alone(character: str) -> bool:
    """Tell whether BERT's tokenizer makes a character a word of its own: Chinese characters and punctuation."""
    return "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or not character.isalnum()
