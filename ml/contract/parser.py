"""Parse and check the JSON of a contract."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ml.contract import version_1
from ml.contract.checks import check_meta
from ml.contract.problems import EXAMPLES, Problem, listed, quoted, to_error, validation_problems
from ml.contract.rule_checks import check_rules
from ml.contract.schema import Contract, ContractFile, MetaDraft, Rule
from ml.contract.values import MAX_RULES
from ml.errors import ContractError

SCHEMA_VERSION = 2
VERSION_1_NOTE = " (in the names of schema_version 2)"


def parse(source: Mapping[str, Any]) -> Contract:
    """Parse the JSON of a contract of any known version. Raises one ContractError that names all its errors."""
    raw, note = current_version(source)
    problems: list[Problem] = []
    file: ContractFile | None = None
    try:
        file = ContractFile.model_validate(raw)
        meta: MetaDraft = file.meta
        rules, invalid = dict(enumerate(file.expectations)), set[str]()
    except ValidationError as error:
        problems += validation_problems(error)
        meta, rules, invalid = _valid_sections(raw, error)
    problems += check_meta(meta, invalid)
    problems += check_rules(rules, meta.read)
    if problems or file is None:
        raise to_error(problems, note)
    return Contract.from_file(file, source)


def current_version(source: Any) -> tuple[Mapping[str, Any], str]:
    """Return the contract with the names of the current version, and a note for errors where it had other names."""
    if not isinstance(source, Mapping):
        raise ContractError("an object in the contract", quoted(source), EXAMPLES)
    meta = source.get("meta")
    if not isinstance(meta, Mapping):
        return source, ""
    version = meta.get("schema_version", 1)
    if version == SCHEMA_VERSION and isinstance(version, int):
        return source, ""
    if version != 1 or not isinstance(version, int) or isinstance(version, bool):
        raise ContractError(
            f"schema_version {SCHEMA_VERSION} in meta",
            quoted(version),
            f"use a version of steward that reads it, or write the contract as of version {SCHEMA_VERSION}: {EXAMPLES}",
        )
    if keys := version_1.new_keys(meta):
        raise ContractError(
            f"schema_version {SCHEMA_VERSION} in meta with the keys {listed(keys)}",
            "none",
            f'add "schema_version": {SCHEMA_VERSION} to meta',
        )
    return version_1.upgrade(source), VERSION_1_NOTE


def _valid_sections(
    raw: Mapping[str, Any], error: ValidationError
) -> tuple[MetaDraft, dict[int, Rule], set[str]]:
    """Return what is valid by itself, so that it can be checked too: sections of meta, rules by their number.

    Also returns the keys of `meta` that are not valid.
    """
    places = [details["loc"] for details in error.errors(include_url=False)]
    invalid = {str(place[1]) for place in places if place[0] == "meta" and len(place) > 1}
    given = raw.get("meta")
    sections = {k: v for k, v in given.items() if k not in invalid} if isinstance(given, Mapping) else {}
    wrong_rules = {place[1] for place in places if place[0] == "expectations" and len(place) > 1}
    expectations = raw.get("expectations")
    if not isinstance(expectations, list | tuple):
        expectations = []
    rules = {n: _valid_rule(rule) for n, rule in enumerate(expectations[:MAX_RULES]) if n not in wrong_rules}
    valid_rules = {n: rule for n, rule in rules.items() if rule}
    return MetaDraft.model_validate(sections), valid_rules, invalid


def _valid_rule(rule: Any) -> Rule | None:
    """Return a rule; None if it is invalid, which no error says where there are too many rules."""
    try:
        return Rule.model_validate(rule)
    except ValidationError:
        return None
