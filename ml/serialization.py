"""Write models and arrays as native files, and read them back: classes of `ml` by name, weights as safetensors."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import cast

import numpy as np

from ml.errors import PackagingError
from ml.estimator import Model, TabularModel


def class_name(model: object) -> str:
    """Name the class of a model as manifests do: "ml.tabular.linear:LinearModel"."""
    return f"{type(model).__module__}:{type(model).__qualname__}"


def load_model(name: str, files: Mapping[str, bytes]) -> Model:
    """Load a model of the class that `class_name` named; only classes of `ml` are loaded.

    Raises PackagingError for any other name, and where the class cannot read the files.
    """
    module_name, _, kind = name.partition(":")
    if not module_name.startswith("ml."):
        raise PackagingError("a model class of ml", repr(name), "do not load this model")
    try:
        model_class: type[Model] = getattr(import_module(module_name), kind)
        from_files = model_class.from_files
    except (ImportError, AttributeError):
        raise PackagingError(
            "a model class of ml", repr(name), "load it with the version of Steward that wrote it"
        ) from None
    try:
        model = from_files(files)
    except Exception as error:  # files of another model may raise anything
        raise PackagingError(
            f"files of {name}", f"{type(error).__name__} on reading them", "restore the model's artifacts"
        ) from error
    # The protocol `Model`, for example, has the method but returns None.
    if class_name(model) != name:
        raise PackagingError(
            "a model class of ml", repr(name), "load it with the version of Steward that wrote it"
        )
    return model


def models_to_files(models: Sequence[TabularModel]) -> dict[str, bytes]:
    """Merge the files of several models, each name prefixed with the number of its model: "0-model.json"."""
    return {
        f"{number}-{name}": data
        for number, model in enumerate(models)
        for name, data in model.files().items()
    }


def models_from_files(class_names: Sequence[str], files: Mapping[str, bytes]) -> tuple[TabularModel, ...]:
    """Load the models that `models_to_files` wrote, given their class names in order; ignore all other files."""
    files_by_model: list[dict[str, bytes]] = [{} for _ in class_names]
    for name, data in files.items():
        number, dash, file_name = name.partition("-")
        if dash and number.isdecimal():
            files_by_model[int(number)][file_name] = data
    models = map(load_model, class_names, files_by_model)
    return tuple(cast(TabularModel, model) for model in models)


def to_safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write numeric arrays by name in the safetensors format; equal arrays give equal bytes in any order of names."""
    from safetensors.numpy import save

    # The writer copies the memory of each array, which has to be in row-major order.
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def from_safetensors(data: bytes) -> dict[str, np.ndarray]:
    """Read the arrays that `to_safetensors` wrote, with their shapes and dtypes, in order of name."""
    from safetensors.numpy import load

    return dict(sorted(load(data).items()))
