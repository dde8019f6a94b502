"""gx_rules."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.validator.validator import Validator

from ml.contract.schema import Rule
from ml.errors import ContractError

ROW = "_row"


def _judge(rules: Sequence[Rule], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Great Expectations' verdict for each rule, in order: success, bad (positions), crashed (why, or None)."""
    verdicts: list[dict[str, Any]] = [{}] * len(rules)
    for columns, positions in _by_columns(rules).items():
        suite = _suite([rules[p] for p in positions], "rules")
        mine = frame[list(columns)] if columns else frame
        for position, verdict in zip(positions, _verdicts(suite, mine), strict=True):
            verdicts[position] = verdict
    return verdicts


def _by_columns(rules: Sequence[Rule]) -> dict[tuple[str, ...], list[int]]:
    """Positions of rules by the columns that they look at; () for the whole table.

    GX copies all columns that it was given, once for each column that has missing values.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for position, rule in enumerate(rules):
        # A condition names columns inside of an expression.
        columns = () if "row_condition" in rule.expectation["kwargs"] else rule.columns
        groups.setdefault(columns, []).append(position)
    return groups


def _verdicts(suite: gx.ExpectationSuite, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One verdict per expectation of the suite, in its order.

    Straight through GX's engine: its batch definitions hash every cell, twice, before they judge any.
    """
    engine = PandasExecutionEngine(batch_data_dict={"rows": frame})
    results = Validator(execution_engine=engine, data_context=_context()).graph_validate(
        configurations=suite.expectation_configurations,
        runtime_configuration={"result_format": {"result_format": "COMPLETE"}},
    )
    verdicts: list[dict[str, Any]] = [{}] * len(results)
    for one in results:
        assert one.expectation_config  # _suite() gave each its position
        crashed = None
        if one.exception_info.get("raised_exception", True):
            # Keyed by metric when a metric crashed, flat when the expectation did: the message may quote no cell.
            crashed = "Great Expectations could not evaluate it on this column"
        verdicts[one.expectation_config.meta["rule"]] = {
            "success": bool(one.success),
            "bad": one.result.get("unexpected_index_list") or [],
            "crashed": crashed,
        }
    return verdicts


@cache
def _context() -> Any:
    # It would name a temporary folder that nobody looks at.
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


def _suite(rules: Sequence[Rule], name: str) -> gx.ExpectationSuite:
    """GX gives results in an order of its own: each expectation carries its position."""
    expectations = []
    for position, rule in enumerate(rules):
        configuration = {**rule.expectation, "meta": {"rule": position}}
        wrong = _wrong(configuration)
        if wrong is not None:
            raise ContractError(
                "an expectation that Great Expectations knows", f"{rule.name}: {wrong}", "correct it"
            )
        expectations.append(configuration)
    return gx.ExpectationSuite(name=name, expectations=expectations)


def _wrong(configuration: dict[str, Any]) -> str | None:
    """What is wrong with one expectation; None when Great Expectations takes it.

    GX raises for some mistakes and only logs others, leaving the rule out: both are refused, and neither is logged.
    """
    logger = logging.getLogger("great_expectations.core.expectation_suite")
    logger.disabled = True
    try:
        taken = gx.ExpectationSuite(name="one", expectations=[configuration]).expectations
    except Exception as error:
        return " ".join(str(error).split())[-200:]
    finally:
        logger.disabled = False
    return None if len(taken) == 1 else "not found"
