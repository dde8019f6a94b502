"""Evaluate the rules of a contract with Great Expectations, the only file that imports it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.validator.validator import Validator

from ml.contract.schema import Rule
from ml.errors import ContractError


@dataclass(frozen=True)
class RuleEvaluation:
    """Great Expectations' result for one rule.

    `violations` are the positions of the rows that broke it (int64), `crash` is why it could not be evaluated.
    """

    success: bool
    violations: np.ndarray
    crash: str | None


def evaluate_rules(rules: Sequence[Rule], frame: pd.DataFrame) -> list[RuleEvaluation]:
    """Evaluate each rule on all rows of `frame`; results are in the order of the rules."""
    evaluations: dict[int, RuleEvaluation] = {}
    for columns, positions in _positions_by_columns(rules).items():
        suite = build_suite([rules[p] for p in positions], "rules")
        table = frame[list(columns)] if columns else frame
        evaluations |= dict(zip(positions, _evaluate_suite(suite, table), strict=True))
    return [evaluations[position] for position in range(len(rules))]


def build_suite(rules: Sequence[Rule], name: str) -> gx.ExpectationSuite:
    """Build the suite of some rules. Raises ContractError for a rule that Great Expectations does not accept."""
    expectations = []
    for position, rule in enumerate(rules):
        # Great Expectations returns results in its own order: each expectation carries its position.
        configuration = {"type": rule.type, "kwargs": dict(rule.kwargs), "meta": {"rule": position}}
        problem = _find_problem(configuration)
        if problem is not None:
            raise ContractError(
                "an expectation that Great Expectations knows", f"{rule.name}: {problem}", "correct it"
            )
        expectations.append(configuration)
    return gx.ExpectationSuite(name=name, expectations=expectations)


def _positions_by_columns(rules: Sequence[Rule]) -> dict[tuple[str, ...], list[int]]:
    """Group the positions of rules by the columns that they need; () for the whole table.

    Great Expectations copies all columns that it gets, once for each column with missing values.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for position, rule in enumerate(rules):
        # A row condition names columns inside an expression.
        columns = () if "row_condition" in rule.kwargs else rule.columns
        groups.setdefault(columns, []).append(position)
    return groups


def _evaluate_suite(suite: gx.ExpectationSuite, frame: pd.DataFrame) -> list[RuleEvaluation]:
    """Evaluate a suite; results are in the order of its expectations.

    This calls the execution engine directly: batch definitions hash every cell twice before they evaluate anything.
    """
    engine = PandasExecutionEngine(batch_data_dict={"rows": frame})
    results = Validator(execution_engine=engine, data_context=_context()).graph_validate(
        configurations=suite.expectation_configurations,
        runtime_configuration={"result_format": {"result_format": "COMPLETE"}},
    )
    evaluations: dict[int, RuleEvaluation] = {}
    for result in results:
        assert result.expectation_config  # build_suite() gave each its position
        # Where a metric crashed, the information is keyed by metric and has no such key. Messages are not kept: they
        # may quote cells.
        crashed = result.exception_info.get("raised_exception", True)
        evaluations[result.expectation_config.meta["rule"]] = RuleEvaluation(
            bool(result.success),
            np.asarray(result.result.get("unexpected_index_list") or [], dtype=np.int64),
            "Great Expectations could not evaluate it on this column" if crashed else None,
        )
    return [evaluations[position] for position in range(len(evaluations))]


@cache
def _context() -> Any:
    # Its log line would name a temporary folder that is of no interest.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _find_problem(configuration: dict[str, Any]) -> str | None:
    """Return what is wrong with one expectation, or None if Great Expectations accepts it.

    Great Expectations raises for some errors; others it only logs and leaves the rule out. Both are reported, without
    a log line.
    """
    logger = logging.getLogger("great_expectations.core.expectation_suite")
    logger.disabled = True
    try:
        accepted = gx.ExpectationSuite(name="one", expectations=[configuration]).expectations
    except Exception as error:
        return " ".join(str(error).split())[-200:]
    finally:
        logger.disabled = False
    return None if len(accepted) == 1 else "not found"
