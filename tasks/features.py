"""Features: compute what a contract declares, and topics of texts, for every dataset of a split; fitted on train."""

import time
from collections.abc import Collection
from dataclasses import replace
from typing import cast

from prefect import task
from prefect.cache_policies import NO_CACHE

from ml.contract.schema import Contract
from ml.features.declared import describe
from ml.features.fitted_features import FittedFeatures
from tasks.data_facts import DeclaredFeatureFacts, FeatureFacts, TextFeatureFacts
from tasks.error_boundary import redact_errors
from tasks.storage.content_store import StageResult, Store, StoredResult, key_of
from tasks.stored_datasets import load_dataset, stored_settings

CODE = (
    "tasks/features.py",
    "tasks/error_boundary.py",
    "tasks/stored_datasets.py",
    "ml/contract",
    "ml/data",
    "ml/deadline.py",
    "ml/device.py",
    "ml/errors.py",
    "ml/estimator.py",
    "ml/features",
    "ml/fit_storage.py",
    "ml/serialization.py",
    "ml/text/ngrams.py",
    "ml/text/normalization.py",
    "ml/time_budget.py",
)
LIBRARIES = ("numpy", "pandas", "scipy")
TRAIN, ITEMS = "train", "items"


def replaced_texts(contract: Contract, reads_texts: bool) -> tuple[str, ...]:
    """Return the columns with texts that become numbers: none where the candidates read texts themselves."""
    return () if reads_texts else tuple(c for c in contract.features if c in contract.roles.text)


@task(name="features", cache_policy=NO_CACHE)
@redact_errors
def compute_features(
    splits: StoredResult, contract: Contract, texts: Collection[str], store: Store
) -> StoredResult:
    """Store the datasets of a split as models see them, and the files of the fitted features.

    The columns `texts` are replaced. Raises FeatureError where features cannot be computed.
    """
    key = key_of(
        "features",
        CODE,
        LIBRARIES,
        splits=splits.digest,
        **stored_settings(splits),
        # In order: it is that of the columns.
        inputs=contract.inputs,
        declared=[[name, feature.model_dump()] for name, feature in contract.declared_features.items()],
        features=contract.features,
        texts=sorted(texts),
    )
    return store.get_or_compute(key, lambda: _compute_features(splits, contract, texts), "features")


def _compute_features(splits: StoredResult, contract: Contract, texts: Collection[str]) -> StageResult:
    started = time.perf_counter()
    datasets = {name: load_dataset(splits, name) for name in splits.table_names if name != ITEMS}
    fitted = FittedFeatures.fit(datasets[TRAIN], contract, texts)
    computed = {name: replace(d, frame=fitted.transform(d.frame)) for name, d in datasets.items()}
    train = computed[TRAIN].frame
    declared: list[DeclaredFeatureFacts] = [
        {
            "name": name,
            "description": describe(feature.kind, feature.columns),
            "missing": float(train[name].isna().mean()),
        }
        for name, feature in fitted.declared.items()
    ]
    text_facts: list[TextFeatureFacts] = [
        {
            "column": topics.column,
            "topics": topics.directions.shape[1],
            "ngrams": len(topics.weights.vocabulary),
            "unit": topics.weights.unit,
        }
        for topics in fitted.topics
    ]
    settings = stored_settings(splits)
    facts = {
        **settings,
        "text_columns": [c for c in settings["text_columns"] if c not in texts],
        "declared": declared,
        "texts": text_facts,
        "seconds": time.perf_counter() - started,
    }
    tables = {name: dataset.to_table() for name, dataset in computed.items()}
    return StageResult(tables, cast(FeatureFacts, facts), fitted.files())


def fitted_features(datasets: StoredResult) -> FittedFeatures | None:
    """Return what the stage fitted; None for datasets of a split that have passed no such stage."""
    files = datasets.files()
    return FittedFeatures.from_files(files) if files else None
