"""The JSON Schema of contracts, for editors; made from the typed model, which also has rules between keys."""

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from ml.contract.arguments import Arguments
from ml.contract.expectations import EXPECTATIONS, Expectation
from ml.contract.schema import ContractFile, Rule


class _Untitled(GenerateJsonSchema):
    """Leave out titles, which repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> str:
    """Return the text of expectations/contract.schema.json."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (ContractFile, "validation"),
        (Arguments, "validation"),
    ]
    _, definitions = models_json_schema(models, schema_generator=_Untitled)
    sections = definitions["$defs"]
    rule, contract = sections[Rule.__name__], sections.pop(ContractFile.__name__)
    rule["properties"]["type"]["enum"] = list(EXPECTATIONS)
    arguments = {
        "$ref": f"#/$defs/{Arguments.__name__}",
        "description": rule["properties"]["kwargs"]["description"],
    }
    rule["properties"]["kwargs"] = arguments
    rule["allOf"] = [_arguments_of(expectation) for expectation in dict.fromkeys(EXPECTATIONS.values())]
    schema = {"$schema": GenerateJsonSchema.schema_dialect, "$defs": sections, **contract}
    return json.dumps(_one_line(schema), indent=2, ensure_ascii=False) + "\n"


def _arguments_of(expectation: Expectation) -> dict[str, Any]:
    """Return the condition that expectations of one kind have the arguments that they need, and no others."""
    types = [name for name, other in EXPECTATIONS.items() if other == expectation]
    names = {"propertyNames": {"enum": list(expectation.arguments)}, "required": list(expectation.required)}
    return {
        "if": {"properties": {"type": {"enum": types}}},
        "then": {"properties": {"kwargs": names}},
    }


def _one_line(schema: Any) -> Any:
    """Join the lines of descriptions, and drop the names of classes."""
    if isinstance(schema, list):
        return [_one_line(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    joined = {
        key: _one_line(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)
    }
    if isinstance(text := joined.get("description"), str):
        joined["description"] = " ".join(text.split())
    return joined
