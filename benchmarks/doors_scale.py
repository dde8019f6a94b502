"""Read, validate and split one large table through three doors: CSV, 50 Parquet parts, PostgreSQL.

    python -m benchmarks.doors_scale [--rows N] [--doors csv parquet postgresql]

Each measurement runs in a process of its own. `read` is what a run does until it has a table, `plain` what pandas or
pyarrow does with the same files in the same run, `stages` is source, validation and split with their stored results.
Processor seconds are those of all threads of the process, without the server's. Peak memory is that of the whole
process, with what the imports take.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg2
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from benchmarks.reading import peak_memory
from benchmarks.temporary_postgres import temporary_postgres
from ml.contract.parser import parse
from ml.contract.schema import Contract
from tasks.data_access.database_url import database_query, without_password
from tasks.data_access.databases import read_query
from tasks.data_access.locate import DatasetSource
from tasks.data_access.stacked_files import FilePart, stack
from tasks.formats.file_formats import read_in_order
from tasks.settings import ROOT
from tasks.source import read_source
from tasks.split import split, split_rows
from tasks.storage.content_store import Store
from tasks.validate import validate

PARTS = 50
DOORS = ("csv", "parquet", "postgresql")
REGIONS = np.array(["north", "east", "south", "west", "abroad"])
TYPES = {
    "id": "category",
    "applied_on": "time",
    "region": "category",
    "employer": "category",
    "age": "integer",
    "income": "number",
    "debt": "number",
    "rate": "number",
    "late": "integer",
    "bad": "category",
}
QUERY = "SELECT * FROM loans"


def main() -> None:
    """Print the table of measurements; or, for one of them, its figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--doors", choices=DOORS, nargs="+", default=DOORS)
    parser.add_argument("--door", choices=DOORS, help=argparse.SUPPRESS)
    parser.add_argument("--what", choices=("read", "plain", "pandas", "stages"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.door:
        print(json.dumps(_measured(arguments.door, arguments.what, arguments.folder)))
        return
    heads = ("seconds", "x plain", "processor", "x plain", "peak GB", "rows")
    print(f"{'door':<11}{'what':<8}{''.join(f'{head:>11}' for head in heads)}", flush=True)
    with tempfile.TemporaryDirectory() as name, temporary_postgres() as url:
        folder = Path(name)
        write_files(folder, arguments.rows)
        doors = {"csv": ("plain", "pandas", "read", "stages"), "parquet": ("plain", "read", "stages")}
        if url and "postgresql" in arguments.doors:
            _fill(url, folder)
            doors["postgresql"] = ("read", "stages")
        for door in arguments.doors:
            plain = (float("nan"), float("nan"))
            for what in doors.get(door, ()):
                seconds, processor, peak, rows = _in_process(door, what, folder, url)
                plain = (seconds, processor) if what == "plain" else plain
                print(
                    f"{door:<11}{what:<8}{seconds:>11.1f}{seconds / plain[0]:>11.2f}{processor:>11.1f}"
                    f"{processor / plain[1]:>11.2f}{peak / 1e9:>11.2f}{rows:>11,}",
                    flush=True,
                )


def write_files(folder: Path, rows: int) -> None:
    """Write the same rows as `loans.csv` and as parts."""
    (folder / "parts").mkdir()
    writer = None
    for part, numbers in enumerate(np.array_split(np.arange(rows), PARTS)):
        table = _rows(part, numbers)
        pq.write_table(table, folder / "parts" / f"part-{part:02d}.parquet")
        writer = writer or pacsv.CSVWriter(folder / "loans.csv", table.schema)
        writer.write_table(table)
    assert writer
    writer.close()


def _rows(part: int, numbers: np.ndarray) -> pa.Table:
    generator, n = np.random.default_rng(part), len(numbers)
    late = generator.poisson(0.7, n)
    income = generator.lognormal(10, 0.6, n).round(2)
    day = np.datetime64("2020-01-01") + generator.integers(0, 1800, n).astype("timedelta64[D]")
    return pa.table(
        {
            "id": np.char.add("L", numbers.astype("U")),
            "applied_on": pa.array(day).cast(pa.string()),
            "region": REGIONS[generator.integers(0, len(REGIONS), n)],
            "employer": np.char.add("employer-", generator.integers(0, 5000, n).astype("U")),
            "age": generator.integers(18, 90, n),
            "income": pa.array(income, mask=generator.random(n) < 0.05),
            "debt": (income * generator.random(n)).round(2),
            "rate": generator.random(n).round(6),
            "late": late,
            "bad": np.where(generator.random(n) < 0.05 + 0.1 * (late > 1), "1", "0"),
        }
    )


def contract() -> Contract:
    """Return a contract with a rule of each kind that most contracts have."""

    def rule(kind: str, action: str, **kwargs: Any) -> dict[str, Any]:
        return {
            "type": f"expect_{kind}",
            "kwargs": kwargs,
            "meta": {"action": action, "reason": "as in most contracts"},
        }

    meta = {
        "schema_version": 2,
        "read": {"files": ["loans.csv"], "columns": TYPES},
        "roles": {"target": {"column": "bad", "positive": ["1"]}, "id": "id", "time": "applied_on"},
    }
    rules = [
        rule("column_values_to_be_between", "quarantine", column="age", min_value=18, max_value=88),
        rule("column_values_to_be_in_set", "quarantine", column="region", value_set=REGIONS.tolist()),
        rule("column_values_to_not_be_null", "fail", column="income", mostly=0.9),
    ]
    return parse({"name": "fintech-risk.large", "expectations": rules, "meta": meta})


def _fill(url: str, folder: Path) -> None:
    kinds = {"number": "double precision", "integer": "bigint", "time": "date"}
    columns = ", ".join(f"{name} {kinds.get(kind, 'text')}" for name, kind in TYPES.items())
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor, (folder / "loans.csv").open("rb") as file:
        cursor.execute(f"CREATE TABLE loans ({columns})")
        cursor.copy_expert("COPY loans FROM STDIN WITH (FORMAT csv, HEADER)", file)
    connection.close()


def _in_process(door: str, what: str, folder: Path, url: str | None) -> tuple[float, float, int, int]:
    options = ["--door", door, "--what", what, "--folder", str(folder)]
    command = [sys.executable, "-m", "benchmarks.doors_scale", *options]
    environment = {**os.environ, "DOORS_URL": url or ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    seconds, processor, peak, rows = json.loads(done.stdout)
    return seconds, processor, peak, rows


def _measured(door: str, what: str, folder: Path) -> list[float]:
    # The peak of the process that started this one counts until it is reset.
    Path("/proc/self/clear_refs").write_text("5")
    started, processor = time.perf_counter(), time.process_time()
    rows = _plain(door, what, folder) if what in ("plain", "pandas") else _ours(door, what, folder)
    return [time.perf_counter() - started, time.process_time() - processor, peak_memory(), rows]


def _plain(door: str, what: str, folder: Path) -> int:
    if door == "parquet":
        return len(pq.read_table(folder / "parts").to_pandas())
    if what == "pandas":
        return len(pd.read_csv(folder / "loans.csv"))
    # Cells are texts, as in `read`.
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys(TYPES, pa.string()))
    return len(pacsv.read_csv(folder / "loans.csv", convert_options=convert).to_pandas())


def _ours(door: str, what: str, folder: Path) -> int:
    store = folder / f"store-{door}-{what}"
    files = (folder / "loans.csv",) if door == "csv" else tuple(sorted((folder / "parts").iterdir()))
    database = None
    if door == "postgresql":
        files, database = (), database_query(without_password(os.environ["DOORS_URL"]), QUERY)
    source = DatasetSource("large", contract(), files, database=database)
    if what == "read":
        if database:
            files = (read_query(database, store, source.limits),)
        contents = read_in_order(files, source.contract.read, source.limits)
        return len(stack([FilePart(file.name, content.table) for file, content in contents]))
    raw = read_source(source, Store(store))
    clean = validate.fn(raw, source.contract, None, Store(store))
    split.fn(clean, source.contract, split_rows, datetime.now(UTC), Store(store))
    return int(raw.facts["rows"])


if __name__ == "__main__":
    main()
