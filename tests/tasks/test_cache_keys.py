"""Cache keys of stages: the code in the key covers every module that the stage imports, and not much more."""

from pathlib import PurePosixPath

import grimp
import pytest

from tasks import drift, evaluate, features, packaging, source, split, train, validate
from tasks.settings import ROOT
from tasks.storage.content_store import key_of

STAGES = {
    "source": source.CODE,
    "validate": validate.CODE,
    "drift": drift.CODE,
    "split": split.CODE,
    "features": features.CODE,
    "train": train.CODE,
    "evaluate": evaluate.CODE,
    "packaging": packaging.CODE,
}
# These store and retrieve results, find folders, or only declare types: they do not compute what a stage stores.
INFRASTRUCTURE = (
    "tasks.storage",
    "tasks.tracking",
    "tasks.settings",
    "tasks.facts",
    "tasks.data_facts",
    "tasks.run_entries",
)


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("ml", "tasks", cache_dir=None)


def imported_modules(imports: grimp.ImportGraph, stage: str) -> set[str]:
    """Return the modules that a stage imports directly or indirectly, and the stage, without infrastructure."""
    found: set[str] = set()
    pending = [f"tasks.{stage}"]
    while pending:
        module = pending.pop()
        if module not in found and not module.startswith(INFRASTRUCTURE):
            found.add(module)
            pending += imports.find_modules_directly_imported_by(module)
    return found


def path_of(module: str) -> PurePosixPath:
    path = PurePosixPath(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def is_covered(module: str, code: tuple[str, ...]) -> bool:
    return any(path_of(module).is_relative_to(name) for name in code)


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_in_the_key_covers_all_imported_modules(stage: str, imports: grimp.ImportGraph) -> None:
    modules = imported_modules(imports, stage)
    assert f"tasks.{stage}" in modules
    assert [module for module in sorted(modules) if not is_covered(module, STAGES[stage])] == []
    key_of(stage, STAGES[stage])  # raises for code that does not exist


@pytest.mark.parametrize("stage", ["source", "validate", "drift", "split", "features"])
def test_stages_before_training_do_not_depend_on_the_code_of_models(stage: str) -> None:
    for module in ("ml.recommenders.als", "ml.tabular.linear", "ml.package", "tasks.train"):
        assert not is_covered(module, STAGES[stage])


def test_an_evaluation_depends_on_the_libraries_that_models_are_fitted_with() -> None:
    # Optuna chooses hyperparameters, and predicts nothing.
    assert set(train.LIBRARIES) - {"optuna"} <= set(evaluate.LIBRARIES)


def test_each_stage_that_stores_results_is_tested(imports: grimp.ImportGraph) -> None:
    users = imports.find_modules_that_directly_import("tasks.storage.content_store")
    names = {user.removeprefix("tasks.") for user in users if not user.startswith(INFRASTRUCTURE)}
    # These only read results, or call a stage.
    assert names - {"stored_datasets", "repaired_rows"} == set(STAGES)
