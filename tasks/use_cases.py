"""List the use cases: each has a flow file and a folder of contracts with the same stem."""

from tasks.settings import ROOT


def use_case_names(data: str | None = None) -> list[str]:
    """Return the names of all use cases, sorted; with `data`, of those that have a contract of that name."""
    stems = sorted(path.stem for path in (ROOT / "flows").glob("*.py"))
    folders = {stem: ROOT / "expectations" / stem for stem in stems}
    return [
        stem.replace("_", "-")
        for stem, folder in folders.items()
        if folder.is_dir() and (data is None or (folder / f"{data}.json").is_file())
    ]
