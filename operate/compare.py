"""`steward compare`: two versions of a model on the same test rows, and what they were made from."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ml.errors import UsageError
from operate.console import CaseArgument, JsonOption, ModelDataOption, case_module, console_logging

if TYPE_CHECKING:
    from flows.version_comparison import MetricComparison, RecordedDifference


def compare(
    case: CaseArgument,
    first: Annotated[int, typer.Argument(metavar="V1", help="A model version, such as 1.")],
    second: Annotated[int, typer.Argument(metavar="V2", help="Another version of the same model.")],
    data: ModelDataOption = "simulated",
    as_json: JsonOption = False,
) -> None:
    """Compare two versions on the same test rows, and show how data, contract, code and parameters differ."""
    if first == second:
        raise UsageError("two different versions", f"version {first} twice", "name another one")
    with console_logging(progress=True):
        use_case = case_module(case).CASE
        from flows.lineage.model_version import find_model_version
        from flows.version_comparison import compare_metrics, recorded_differences
        from tasks.settings import load

        settings = load()
        record, other = (find_model_version(case, data, number, settings) for number in (first, second))
        differences = list(recorded_differences(record, other))
        metrics = compare_metrics(record, other, use_case)
        name, champion = record.version.name, record.champion
    if as_json:
        versions = {"model": name, "first": first, "second": second, "champion": champion}
        compared = {"metrics": asdict(metrics), "differences": [asdict(each) for each in differences]}
        typer.echo(json.dumps({"case": case, "data": data, **versions, **compared}))
        return
    titles = [f"version {n}{' (champion)' if n == champion else ''}" for n in (first, second)]
    typer.echo(f"{name}: {titles[0]} and {titles[1]}")
    _print_metrics(metrics, (first, second))
    _print_differences(differences, (first, second))


def _print_metrics(metrics: "MetricComparison", versions: tuple[int, int]) -> None:
    """Print the metrics of both versions, and the paired interval of the primary one."""
    from tasks.metric_descriptions import describe_metric, format_value

    rest = f"; {metrics.rows_left_out:,} left out that one was trained on" if metrics.rows_left_out else ""
    typer.echo(f"\n{metrics.rows:,} test rows of version {metrics.rows_of}{rest}\n")
    heads = [f"version {number}" for number in versions]
    typer.echo(f"{'':<28} {heads[0]:>12} {heads[1]:>12} {'difference':>12}")
    for name in metrics.first:
        first, second = metrics.first[name], metrics.second.get(name, float("nan"))
        label = describe_metric(name).label
        shown = format_value(first), format_value(second), format_value(second - first, "+")
        typer.echo(f"{label:<28} {shown[0]:>12} {shown[1]:>12} {shown[2]:>12}")
    difference = metrics.difference
    typer.echo(
        f"\n{describe_metric(metrics.primary).label}, paired: {heads[1]} is better than {heads[0]} by"
        f" {format_value(difference.value, '+')}"
        f"\n95 % interval [{format_value(difference.low, '+')}, {format_value(difference.high, '+')}]:"
        f" {_verdict(metrics, heads)}"
    )


def _verdict(metrics: "MetricComparison", heads: list[str]) -> str:
    if metrics.difference.low > 0:
        return f"{heads[1]} is better"
    return f"{heads[1]} is worse" if metrics.difference.high < 0 else "no difference beyond chance"


def _print_differences(differences: "list[RecordedDifference]", versions: tuple[int, int]) -> None:
    typer.echo(f"\nrecorded, where they differ: version {versions[0]}, version {versions[1]}")
    for difference in differences:
        typer.echo(f"  {difference.subject:<11} {'same' if difference.is_same else 'differs'}")
        for detail in difference.details:
            typer.echo(f"      {detail}")
