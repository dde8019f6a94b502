"""List the use cases: each has a flow file and a folder of contracts with the same stem."""

from tasks.settings import ROOT


def use_case_names() -> list[str]:
    """Return the names of all use cases, sorted."""
    stems = sorted(path.stem for path in (ROOT / "flows").glob("*.py"))
    return [stem.replace("_", "-") for stem in stems if (ROOT / "expectations" / stem).is_dir()]
