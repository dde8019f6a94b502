"""Values of a contract's JSON, checked one by one: each mistake is named with its place. All raise ContractError."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from typing import Any, get_args

from ml.errors import ContractError

JSON_TYPES: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    str: ("a string", lambda v: isinstance(v, str)),
    bool: ("true or false", lambda v: isinstance(v, bool)),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    float: ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
    list: ("a list", lambda v: isinstance(v, list)),
    tuple[str, ...]: (
        "a list of strings",
        lambda v: isinstance(v, list) and all(isinstance(s, str) for s in v),
    ),
    Mapping[str, str]: (
        "an object of strings",
        lambda v: isinstance(v, Mapping) and all(isinstance(s, str) for s in v.values()),
    ),
}


def an_object(raw: object, where: str) -> None:
    if not isinstance(raw, Mapping):
        raise ContractError(f"an object in {where}", type(raw).__name__, "see the contracts in expectations/")


def known_keys(raw: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    an_object(raw, where)
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise ContractError(
            f"only the keys {', '.join(known)} in {where}", f"{unknown}", "correct or remove them"
        )


def required(raw: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in raw:
        raise ContractError(f"the key {key!r} in {where}", f"{sorted(raw)}", "add it")
    return raw[key]


def fields_of(raw: Mapping[str, Any], made: type[Any], where: str) -> dict[str, Any]:
    """The values of a dataclass, each of the type of its field; fields without a default are required."""
    fields = made.__dataclass_fields__
    known_keys(raw, tuple(fields), where)
    for name, one in fields.items():
        if one.default is MISSING and one.default_factory is MISSING:
            required(raw, name, where)
    return {name: typed(value, fields[name].type, f"{where}.{name}") for name, value in raw.items()}


def typed(value: Any, wanted: Any, where: str) -> Any:
    """The value if JSON gave it the wanted type (null only where a field may be None), a list of strings as tuple."""
    if type(None) in get_args(wanted):
        if value is None:
            return None
        wanted = get_args(wanted)[0]
    described, fits = JSON_TYPES[wanted]
    if not fits(value):
        raise ContractError(f"{described} in {where}", type(value).__name__, "correct it")
    return tuple(value) if wanted == tuple[str, ...] else value


def labels(values: object, where: str) -> tuple[str, ...]:
    """Classes or sites as cells say them: strings, or whole numbers for their text."""
    labels = typed(values, list, where)
    odd = [v for v in labels if isinstance(v, bool) or not isinstance(v, str | int)]
    if odd or not labels:
        raise ContractError(f"strings in {where}", f"{values!r}", "write each as its cells say it")
    return tuple(str(v) for v in labels)


def reason(raw: Mapping[str, Any], where: str) -> str:
    reason = typed(raw.get("reason", ""), str, f"{where}.reason").strip()
    if not reason:
        raise ContractError(f"a reason in {where}", "none", "say why it is there")
    return str(reason)


def one_of(value: object, known: Sequence[str], where: str) -> None:
    if value not in known:
        raise ContractError(f"one of {', '.join(known)} in {where}", f"{value!r}", "correct it")


def share(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ContractError(f"a share from 0 to below 1 in {where}", f"{value!r}", "correct it")
    return float(value)
