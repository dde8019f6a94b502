"""Evaluate the rules of a contract with Great Expectations, the only file that imports it.

Great Expectations evaluates row conditions as code, and regular expressions in exponential time. It gets neither: rows
are selected and patterns are matched before, by functions of `ml.data`, and it judges the result.
"""

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

from ml.contract.expectations import CONDITION
from ml.contract.schema import Rule
from ml.data.pattern_matches import pattern_matches
from ml.data.row_masks import row_mask
from ml.errors import ContractError

# What a column of matches holds for a cell that is good.
GOOD_CELL = 1.0
NOT_EVALUATED = "Great Expectations could not evaluate it on this column"


@dataclass(frozen=True)
class RuleEvaluation:
    """Great Expectations' result for one rule.

    `violations` are the positions of the rows that broke it (int64), `crash` is why it could not be evaluated.
    """

    success: bool
    violations: np.ndarray
    crash: str | None


def evaluate_rules(rules: Sequence[Rule], frame: pd.DataFrame) -> list[RuleEvaluation]:
    """Evaluate each rule on the rows of `frame`, numbered from 0, that its row condition selects.

    Results are in the order of the rules.
    """
    evaluations: dict[int, RuleEvaluation] = {}
    for positions in _groups(rules):
        group = [rules[position] for position in positions]
        table = _input_table(group[0], frame)
        suite = build_suite(group, "rules")
        results = _evaluate(suite.expectation_configurations, table)
        evaluations |= dict(zip(positions, results, strict=True))
    return [evaluations[position] for position in range(len(rules))]


def build_suite(rules: Sequence[Rule], name: str) -> gx.ExpectationSuite:
    """Build the suite of some rules. Raises ContractError for a rule that Great Expectations does not accept."""
    expectations = []
    for position, rule in enumerate(rules):
        # Great Expectations returns results in its own order: each expectation carries its position.
        configuration = {**_expectation(rule), "meta": {"rule": position}}
        problem = _find_problem(configuration)
        if problem is not None:
            raise ContractError(
                "an expectation that Great Expectations knows", f"{rule.name}: {problem}", "correct it"
            )
        expectations.append(configuration)
    return gx.ExpectationSuite(name=name, expectations=expectations)


def _groups(rules: Sequence[Rule]) -> list[list[int]]:
    """Group the positions of rules that can be evaluated on the same table.

    Great Expectations copies all columns that it gets, once for each column with missing values.
    """
    groups: dict[Any, list[int]] = {}
    for position, rule in enumerate(rules):
        key = position if rule.patterns else (rule.columns, rule.row_condition)
        groups.setdefault(key, []).append(position)
    return list(groups.values())


def _input_table(rule: Rule, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows and columns that a rule looks at; for regular expressions, whether each cell is good."""
    condition, columns = rule.row_condition, list(rule.columns)
    rows = frame if condition is None else frame[row_mask(condition, frame)]
    if not rule.patterns:
        return rows[columns] if columns else rows
    (column,) = columns
    found = pattern_matches(rows[column], rule.patterns)
    matches = found.all(axis=1) if rule.kwargs.get("match_on") == "all" else found.any(axis=1)
    good = ~matches if "_not_match_" in rule.type else matches
    return pd.DataFrame({column: np.where(rows[column].isna(), np.nan, good)}, index=rows.index)


def _expectation(rule: Rule) -> dict[str, Any]:
    """Return type and arguments of the expectation that judges the input table of a rule."""
    kwargs = {name: value for name, value in rule.kwargs.items() if name not in CONDITION}
    if not rule.patterns:
        return {"type": rule.type, "kwargs": kwargs}
    common = {name: kwargs[name] for name in ("column", "mostly") if name in kwargs}
    return {"type": "expect_column_values_to_be_in_set", "kwargs": {**common, "value_set": [GOOD_CELL]}}


def _evaluate(configurations: Sequence[Any], frame: pd.DataFrame) -> list[RuleEvaluation]:
    """Evaluate the expectations of a suite; results are in their order.

    This calls the execution engine directly: batch definitions hash every cell twice before they evaluate anything.
    """
    engine = PandasExecutionEngine(batch_data_dict={"rows": frame})
    try:
        results = Validator(execution_engine=engine, data_context=_context()).graph_validate(
            configurations=list(configurations),
            runtime_configuration={"result_format": {"result_format": "COMPLETE"}},
        )
    except Exception:
        # Some expectations raise for their own arguments; alone, each is reported as one that cannot be evaluated.
        if len(configurations) == 1:
            return [RuleEvaluation(False, np.empty(0, np.int64), NOT_EVALUATED)]
        return [_evaluate([configuration], frame)[0] for configuration in configurations]
    evaluations: dict[int, RuleEvaluation] = {}
    for result in results:
        assert result.expectation_config  # build_suite() gave each its position
        # Where a metric crashed, the information is keyed by metric and has no such key. Messages are not kept: they
        # may quote cells.
        crashed = result.exception_info.get("raised_exception", True)
        evaluations[result.expectation_config.meta["rule"]] = RuleEvaluation(
            bool(result.success),
            np.asarray(result.result.get("unexpected_index_list") or [], dtype=np.int64),
            NOT_EVALUATED if crashed else None,
        )
    return [evaluations[position] for position in sorted(evaluations)]


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
