"""serialization."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import cast

from ml.errors import PackagingError
from ml.estimator import Model, TabularModel


def class_name(model: object) -> str:
    """How a manifest names a class."""
    return f"{type(model).__module__}:{type(model).__qualname__}"


def load_model(name: str, files: Mapping[str, bytes]) -> Model:
    """The model of a class named as by `class_name`. Only classes of `ml` are loaded, whatever a manifest says.

    Raises PackagingError for any other name, and where the class cannot read the files.
    """
    module, _, kind = name.partition(":")
    if not module.startswith("ml."):
        raise PackagingError("a model class of ml", repr(name), "do not load this model")
    try:
        loaded: type[Model] = getattr(import_module(module), kind)
        read_back = loaded.from_files
    except (ImportError, AttributeError):
        raise PackagingError("a model class of ml", repr(name), "load it with its own version") from None
    try:
        model = read_back(files)
    except Exception as error:  # files of another model may break it in any way
        raise PackagingError(
            f"files of {name}", f"{type(error).__name__} on reading them", "restore the model's artifacts"
        ) from error
    # The protocol of models, for one, has the method and makes nothing.
    if class_name(model) != name:
        raise PackagingError("a model class of ml", repr(name), "load it with its own version")
    return model


def numbered(models: Sequence[TabularModel]) -> dict[str, bytes]:
    """The files of all models, the number of a model in front of each name."""
    return {f"{at}-{name}": data for at, model in enumerate(models) for name, data in model.files().items()}


def read_numbered(kinds: Sequence[str], files: Mapping[str, bytes]) -> tuple[TabularModel, ...]:
    """The models that `numbered` wrote, of classes named as by `class_name`."""
    own: list[dict[str, bytes]] = [{} for _ in kinds]
    for name, data in files.items():
        at, dash, rest = name.partition("-")
        if dash and at.isdecimal():
            own[int(at)][rest] = data
    return tuple(cast(TabularModel, load_model(kind, mine)) for kind, mine in zip(kinds, own, strict=True))
