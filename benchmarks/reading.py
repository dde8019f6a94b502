"""Measure reading: seconds and peak memory per format, in relation to the plain library and to the table in memory.

    python -m benchmarks.reading [rows]

Each read runs in a process of its own. `memory` is the peak beyond what the imports take.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ml.contract.read_options import ReadOptions
from ml.data.casting import TEXT_DTYPE
from tasks.data_access.stacked_files import to_frame
from tasks.formats.file_formats import read_file
from tasks.formats.read_limits import ReadLimits
from tasks.settings import ROOT

FORMATS = ("csv", "zip", "parquet", "txt")
MEGABYTE = 2**20


def write_files(folder: Path, rows: int) -> None:
    """Write one table in every format; the lines of items have eleven items each."""
    generator = np.random.default_rng(0)
    columns = {f"number{n}": generator.normal(size=rows).round(6) for n in range(4)}
    texts = {
        f"text{n}": np.char.add("value-", generator.integers(0, 10**6, rows).astype(str)) for n in range(4)
    }
    frame = pd.DataFrame({**columns, **texts})
    frame.to_csv(folder / "table.csv", index=False)
    frame.to_parquet(folder / "table.parquet", index=False)
    with zipfile.ZipFile(folder / "table.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "table.csv", "table.csv")
    items = generator.integers(0, 10**6, (rows // 2, 12))
    (folder / "table.txt").write_text("\n".join(" ".join(map(str, line)) for line in items) + "\n")


def read(path: Path, plain: bool) -> pd.DataFrame:
    """Read a file as the stage `source` does, or with the library alone."""
    if path.suffix == ".txt":
        if plain:
            pairs = [(u, i) for u, *line in (x.split() for x in path.open()) for i in line]
            return pd.DataFrame(pairs, columns=["user", "item"], dtype=TEXT_DTYPE)
        names: tuple[str, ...] = ("user", "item")
        options = ReadOptions(
            columns=dict.fromkeys(names, "category"), format="sequences", separator=" ", header=False
        )
    else:
        names = tuple(f"{kind}{n}" for kind in ("number", "text") for n in range(4))
        options = ReadOptions(columns=dict.fromkeys(names, "category"))
        if plain and path.suffix == ".parquet":
            frame: pd.DataFrame = pq.read_table(path).to_pandas()
            return frame
        if plain:
            convert = pacsv.ConvertOptions(column_types=dict.fromkeys(names, "string"))
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive, archive.open("table.csv") as member:
                    frame = pacsv.read_csv(member, convert_options=convert).to_pandas()
            else:
                frame = pacsv.read_csv(path, convert_options=convert).to_pandas()
            return frame
    return to_frame([read_file(path, options, ReadLimits(compression_ratio=1e6)).table])


def peak_memory() -> int:
    """Return the peak of the memory of this process since the last reset, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def measure(path: Path, plain: bool) -> None:
    """Read in this process and print seconds, peak memory and the size of the table (bytes) as JSON."""
    # The peak of the process that started this one counts until it is reset.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory()
    started = time.perf_counter()
    frame = read(path, plain)
    seconds = time.perf_counter() - started
    peak = peak_memory() - before
    print(json.dumps([seconds, peak, int(frame.memory_usage(deep=True).sum())]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()
    if arguments.file:
        measure(arguments.file, arguments.plain)
        return
    print(f"{'format':<8} {'seconds':>8} {'x plain':>8} {'memory MB':>10} {'x plain':>8} {'x table':>8}")
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), arguments.rows)
        for name in FORMATS:
            command = [sys.executable, "-m", "benchmarks.reading", "--file", f"{folder}/table.{name}"]
            ours, plain = (
                json.loads(
                    subprocess.run([*command, *extra], cwd=ROOT, capture_output=True, check=True).stdout
                )
                for extra in ([], ["--plain"])
            )
            print(
                f"{name:<8} {ours[0]:>8.2f} {ours[0] / plain[0]:>8.2f} {ours[1] / MEGABYTE:>10.0f}"
                f" {ours[1] / plain[1]:>8.2f} {ours[1] / ours[2]:>8.2f}"
            )


if __name__ == "__main__":
    main()
