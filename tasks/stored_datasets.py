"""Parts of a split as models take them: their tables with what the contract says of these."""

from dataclasses import replace
from typing import Any

from ml.contract.schema import Contract
from ml.data import item_attributes
from ml.data.dataset import Part
from tasks.storage.content_store import Stored


def learned_with(contract: Contract) -> dict[str, Any]:
    """What a model has to know of its columns and items besides their cells, as facts of a split."""
    return {
        "special": {column: list(codes) for column, codes in contract.special.items()},
        "repeat": contract.roles.repeat,
        "blocked": sorted(contract.blocked),
        "decay": contract.decay,
        "asked": contract.split.by if contract.is_recommendation else None,
    }


def told(parts: Stored) -> dict[str, Any]:
    """What `learned_with` left in the facts, as fields of `ml.estimator.Part`."""
    facts = parts.facts
    return {
        "special": {column: tuple(codes) for column, codes in facts.get("special", {}).items()},
        "repeat": bool(facts.get("repeat", False)),
        "blocked": tuple(facts.get("blocked", ())),
        "decay": facts.get("decay"),
        "asked": facts.get("asked"),
    }


def part_of(parts: Stored, name: str) -> Part:
    """The part of that name with all that is told of it, and what the side table says of items."""
    attributes = item_attributes.attributes(parts.part("items")) if "items" in parts.parts else {}
    return replace(Part.from_table(parts.part(name)), **told(parts), attributes=attributes)
