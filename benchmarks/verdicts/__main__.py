"""What verdicts are worth: error rates, power and coverage of the rules by which models are judged.

`python -m benchmarks.verdicts` prints all figures, each with its bound, and ends with 1 where one does not hold.
`--sections NAME ...` prints some; `--scale 0.1` takes a tenth of the simulated repetitions. Sections with real data
need `STEWARD_DATA_DIR`.
"""

import argparse
import importlib
import platform
import time
from importlib.metadata import version

from benchmarks.verdicts.figures import Figure

# Each is a module of this folder with a function `measure(scale, seed)` that yields figures, in the order of the items.
SECTIONS = (
    "returning_items",
    "near_copies",
    "looks",
    "promotion",
    "subgroups",
    "late_outcomes",
    "few_positives",
    "small_tables",
    "noise",
)
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm", "pandas")


def main() -> None:
    """Measure the sections and print their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--scale", type=float, default=1.0, help="repetitions, as a multiple of the default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"python {platform.python_version()}, {platform.machine()}, seed {options.seed}, x{options.scale:g}"
    )
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    missed: list[Figure] = []
    for name in options.sections:
        started = time.perf_counter()
        section = importlib.import_module(f"benchmarks.verdicts.{name}")
        print(f"\n{(section.__doc__ or name).splitlines()[0]}")
        for figure in section.measure(options.scale, options.seed):
            print(f"  {figure}", flush=True)
            missed += [figure] if figure.holds is False else []
        print(f"  ({time.perf_counter() - started:.0f} s)")
    if missed:
        raise SystemExit(f"{len(missed)} figures beyond their bound")


if __name__ == "__main__":
    main()
