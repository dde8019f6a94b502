"""Use cases by name: one stem everywhere, of a flow file and of a folder of contracts."""

from tasks.settings import ROOT


def cases() -> list[str]:
    """The names of all use cases, sorted."""
    stems = sorted(path.stem for path in (ROOT / "flows").glob("*.py"))
    return [stem.replace("_", "-") for stem in stems if (ROOT / "expectations" / stem).is_dir()]
