"""Compare the installed packages with the versions that constraints.txt pins; `make check` runs this file."""

import re
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from tasks.settings import ROOT

# Not pinned: what installs the others, and this project.
UNPINNED = ("pip", "steward")
# Its builds for CPU and for versions of CUDA differ in the local label, as in 2.13.0+cpu.
LABELLED = "torch"


@dataclass(frozen=True)
class PinComparison:
    """Installed packages: those as pinned, those that differ ("a 2.0 instead of 1.0"), and those not in the file."""

    same: tuple[str, ...]
    different: tuple[str, ...]
    unknown: tuple[str, ...]


def compare_with_pins(constraints: Path) -> PinComparison:
    """Compare each installed distribution with the file; distributions that are not installed are ignored."""
    pinned = pinned_versions(constraints)
    installed = {canonical(d.name): d.version for d in distributions() if d.name}
    same, different, unknown = [], [], []
    for name, number in sorted(installed.items()):
        if name not in pinned:
            unknown.append(name)
        elif number == pinned[name] or (name == LABELLED and number.partition("+")[0] == pinned[name]):
            same.append(name)
        else:
            different.append(f"{name} {number} instead of {pinned[name]}")
    return PinComparison(
        tuple(same), tuple(different), tuple(name for name in unknown if name not in UNPINNED)
    )


def pinned_versions(constraints: Path) -> dict[str, str]:
    """Return the pinned version of each package, by its canonical name."""
    lines = (line.split("#")[0].strip() for line in constraints.read_text().splitlines())
    return {canonical(name): number for name, _, number in (line.partition("==") for line in lines if line)}


def canonical(name: str) -> str:
    """Return the form of a distribution's name in which equal names are equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Print how the installed packages differ from constraints.txt; return 1 if a pinned one has another version."""
    compared = compare_with_pins(ROOT / "constraints.txt")
    lines = [f"{len(compared.same)} packages as in constraints.txt"]
    lines += [f"not in constraints.txt: {', '.join(compared.unknown)}"] if compared.unknown else []
    lines += [f"not as in constraints.txt: {line}" for line in compared.different]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if compared.different else 0


if __name__ == "__main__":
    sys.exit(main())
