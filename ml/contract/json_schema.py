"""The JSON Schema of contracts, for editors; made from the typed model, which also has rules between keys."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from ml.contract.schema import ContractFile


class _Untitled(GenerateJsonSchema):
    """Leave out titles, which repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> str:
    """Return the text of expectations/contract.schema.json."""
    schema = {
        "$schema": GenerateJsonSchema.schema_dialect,
        **ContractFile.model_json_schema(schema_generator=_Untitled),
    }
    return json.dumps(_one_line(schema), indent=2, ensure_ascii=False) + "\n"


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
