"""N-grams agree with scikit-learn's, and weights of texts depend on no other text."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from ml.text.ngrams import NGramWeights, Unit

TEXTS = ["lost my card", "Where is my card my card", "refund please!", "", "where, where?", "it is a card"]
ANALYZERS: dict[Unit, dict[str, Any]] = {
    "words": {"analyzer": "word", "token_pattern": r"\w+|[^\w\s]"},
    "characters": {"analyzer": "char"},
    "characters of words": {"analyzer": "char_wb"},
}


@pytest.mark.parametrize("unit", ANALYZERS)
@pytest.mark.parametrize("min_messages", [1, 2])
def test_weights_agree_with_scikit_learn(unit: Unit, min_messages: int) -> None:
    reference = TfidfVectorizer(
        ngram_range=(1, 3), sublinear_tf=True, min_df=min_messages, **ANALYZERS[unit]
    ).fit(TEXTS)
    weights = NGramWeights.fit(TEXTS, unit, (1, 3), min_messages, 10_000)
    assert list(weights.vocabulary) == sorted(reference.vocabulary_)
    texts = [*TEXTS, "a new card", "???"]
    np.testing.assert_allclose(
        weights.encode(texts).toarray(), reference.transform(texts).toarray(), atol=1e-6
    )


def test_most_frequent_ngrams_are_kept_in_any_order_of_texts() -> None:
    first = NGramWeights.fit(TEXTS, "words", (1, 1), 1, 3)
    second = NGramWeights.fit(TEXTS[::-1], "words", (1, 1), 1, 3)
    assert first.vocabulary == second.vocabulary == ("card", "is", "my")


def test_a_text_has_the_same_weights_alone() -> None:
    weights = NGramWeights.fit(TEXTS, "characters of words", (2, 4), 1, 10_000)
    together = weights.encode(TEXTS).toarray()
    alone = np.vstack([weights.encode([text]).toarray() for text in TEXTS])
    np.testing.assert_array_equal(alone, together)


def test_json_restores_the_weights() -> None:
    weights = NGramWeights.fit(TEXTS, "words", (1, 2), 1, 10_000)
    restored = NGramWeights.from_json(json.loads(json.dumps(weights.to_json())), weights.inverse_frequency)
    np.testing.assert_array_equal(restored.encode(TEXTS).toarray(), weights.encode(TEXTS).toarray())
