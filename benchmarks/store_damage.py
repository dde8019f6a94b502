"""Damage results in the content store at random, and count what a run makes of each.

    python -m benchmarks.store_damage --count 1000 --seed 0

A small pipeline is run once: source, validation, split and three fits. Then one of its stored results is damaged and
looked up again, and every table, file and fact of the result is compared with the original:

    healed      recognised as damaged, computed again, equal to the original
    refused     damaged after the lookup: reading raised StoredResultError, and the repetition healed it
    harmless    equal to the original although bytes differ, such as another spelling of the same JSON
    used        differs from the original: must be 0
    crashed     any other exception: must be 0
"""

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ml.contract.parser import parse
from ml.data.digest import table_digest
from ml.errors import StoredResultError
from ml.estimator import Candidate, FitResources
from ml.tabular.constant import Constant
from ml.tabular.gradient_boosting import GradientBoosting
from ml.tabular.linear import Linear
from tasks.data_access.locate import DatasetSource
from tasks.settings import ROOT
from tasks.source import read_source
from tasks.split import split, split_rows
from tasks.storage.content_store import StageResult, Store, StoredResult
from tasks.train import fit
from tasks.validate import validate

HEALED, REFUSED, HARMLESS, USED, CRASHED = "healed", "refused", "harmless", "used", "crashed"
OUTCOMES = (HEALED, REFUSED, HARMLESS, USED, CRASHED)
CANDIDATES: Mapping[str, Candidate] = {
    "constant": Constant(),
    "linear": Linear(),
    "boosting": GradientBoosting(max_rounds=10, min_child_samples=5),
}
ROWS = 400


@dataclass(frozen=True)
class RecordedStage:
    """A stage that was computed: its key, its result before it was stored, and the folder of the stored one."""

    key: str
    name: str
    result: StageResult
    folder: Path

    def is_equal(self, stored: StoredResult) -> bool:
        """Read the whole stored result and compare it with the original."""
        tables = {name: table_digest(stored.table(name)) for name in stored.table_names}
        original = {name: table_digest(frame) for name, frame in self.result.tables.items()}
        facts = json.loads(json.dumps(self.result.facts))
        return (tables, stored.files(), stored.facts) == (original, dict(self.result.files or {}), facts)


class RecordingStore(Store):
    """A store that keeps what was computed, so that healing takes no time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stages: list[RecordedStage] = []

    def get_or_compute(self, key: str, compute: Callable[[], StageResult], stage: str = "") -> StoredResult:
        """Record the computed result."""
        computed: list[StageResult] = []

        def recorded() -> StageResult:
            computed.append(compute())
            return computed[0]

        stored = super().get_or_compute(key, recorded, stage)
        if computed:
            self.stages.append(RecordedStage(key, stage, computed[0], stored.folder))
        return stored


def run_small_pipeline(folder: Path, candidates: Mapping[str, Candidate]) -> list[RecordedStage]:
    """Run source, validation, split and fits on simulated loans; return the stages."""
    content = json.loads((ROOT / "expectations" / "fintech_risk" / "simulated.json").read_text())
    content["meta"]["read"]["rows"] = ROWS
    contract = parse(content)
    store = RecordingStore(folder)
    raw = read_source(DatasetSource("simulated", contract, ()), store)
    clean = validate.fn(raw, contract, None, store)
    splits = split.fn(clean, contract, split_rows, datetime.now(UTC), store)
    for name, candidate in candidates.items():
        fit(name, candidate, splits, FitResources(), store)
    return store.stages


# --- kinds of damage: each changes the files of one stage ------------------------------------------------------------

Random = np.random.Generator
Damage = Callable[[RecordedStage, Random], None]


def _object_file(stage: RecordedStage, random: Random) -> Path:
    return Path(random.choice([str(path) for path in sorted(stage.folder.iterdir())]))


def _key_file(stage: RecordedStage, random: Random) -> Path:
    return stage.folder.parents[1] / "keys" / f"{stage.key}.json"


def flip_bit(path: Path, random: Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    if data:
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))
    path.write_bytes(bytes(data) or b"\0")


def flip_many_bits(path: Path, random: Random) -> None:
    """Flip a bit in each of 20 places."""
    for _ in range(20):
        flip_bit(path, random)


def cut(path: Path, random: Random) -> None:
    """Keep the beginning only."""
    data = path.read_bytes()
    path.write_bytes(data[: random.integers(len(data))] if data else b"\0")


def lengthen(path: Path, random: Random) -> None:
    """Append random bytes."""
    path.write_bytes(path.read_bytes() + random.bytes(int(random.integers(1, 100))))


def zero_block(path: Path, random: Random) -> None:
    """Overwrite up to 512 bytes with zeros, as a lost block of a disk does."""
    data = bytearray(path.read_bytes())
    start = int(random.integers(max(len(data), 1)))
    end = min(start + 512, len(data))
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))


def delete(path: Path, random: Random) -> None:
    """Delete the file."""
    path.unlink()


def put_folder(path: Path, random: Random) -> None:
    """Put a folder in its place."""
    path.unlink()
    path.mkdir()


def put_noise(path: Path, random: Random) -> None:
    """Replace the content by random bytes."""
    path.write_bytes(random.bytes(200))


def put_json(path: Path, random: Random) -> None:
    """Replace the content by JSON of another form."""
    texts = (
        "",
        "[]",
        "null",
        "{}",
        '{"object": 1}',
        '{"object": "../../etc"}',
        "[" * 100_000,
        '{"tables": 3}',
    )
    path.write_text(random.choice(texts))


def put_dangling_link(path: Path, random: Random) -> None:
    """Replace the file by a symbolic link to nothing."""
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


def delete_object(stage: RecordedStage, random: Random) -> None:
    """Delete the whole object."""
    shutil.rmtree(stage.folder)


def rewrite_cells(stage: RecordedStage, random: Random) -> None:
    """Write a valid Parquet file in which one column has another order."""
    tables = [name for name, frame in stage.result.tables.items() if len(frame) > 1]
    if not tables:
        return lengthen(_object_file(stage, random), random)
    name = str(random.choice(tables))
    frame = stage.result.tables[name].copy()
    column = frame.columns[int(random.integers(len(frame.columns)))]
    frame[column] = frame[column].sample(frac=1, random_state=int(random.integers(2**31))).to_numpy()
    frame.to_parquet(stage.folder / f"{name}.parquet", index=False)
    return None


def invert_labels(stage: RecordedStage, random: Random) -> None:
    """Write a valid Parquet file with inverted labels."""
    labelled = [name for name, frame in stage.result.tables.items() if "truth" in frame]
    if not labelled:
        return rewrite_cells(stage, random)
    name = str(random.choice(labelled))
    frame = stage.result.tables[name]
    frame.assign(truth=1 - frame["truth"]).to_parquet(stage.folder / f"{name}.parquet", index=False)
    return None


def change_digit(stage: RecordedStage, random: Random) -> None:
    """Change a digit in a text file of a model, or of the manifest."""
    texts = [path for path in sorted(stage.folder.iterdir()) if path.suffix in (".json", ".txt")]
    path = texts[int(random.integers(len(texts)))]
    data = bytearray(path.read_bytes())
    places = [place for place, byte in enumerate(data) if chr(byte).isdigit()]
    if not places:
        return lengthen(path, random)
    place = places[int(random.integers(len(places)))]
    data[place] = ord("0") + (data[place] - ord("0") + 1) % 10
    path.write_bytes(bytes(data))
    return None


def change_facts(stage: RecordedStage, random: Random) -> None:
    """Change the facts in the manifest, which stays valid."""
    path = stage.folder / "manifest.json"
    content = json.loads(path.read_text())
    content["facts"] = {**content["facts"], "seconds": 0.125, "more": True}
    path.write_text(json.dumps(content, indent=1))


def exchange_keys(stage: RecordedStage, random: Random) -> None:
    """Copy the key file of another object over this one."""
    path = _key_file(stage, random)
    others = [other for other in sorted(path.parent.glob("*.json")) if other != path]
    shutil.copy(others[int(random.integers(len(others)))], path)


def name_missing_object(stage: RecordedStage, random: Random) -> None:
    """Let the key name an object that does not exist."""
    _key_file(stage, random).write_text(json.dumps({"object": random.bytes(32).hex()}))


def exchange_files(stage: RecordedStage, random: Random) -> None:
    """Exchange two files of the object."""
    paths = [path for path in sorted(stage.folder.iterdir()) if path.name != "manifest.json"]
    if len(paths) < 2:
        return flip_bit(_object_file(stage, random), random)
    one, other = (paths[int(place)] for place in random.choice(len(paths), 2, replace=False))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first if first != second else first + b" ")
    return None


FILE_DAMAGES = (
    flip_bit,
    flip_many_bits,
    cut,
    lengthen,
    zero_block,
    delete,
    put_folder,
    put_noise,
    put_json,
    put_dangling_link,
)
OBJECT_DAMAGES = (
    rewrite_cells,
    invert_labels,
    change_digit,
    change_facts,
    exchange_files,
    delete_object,
)
KEY_DAMAGES = (exchange_keys, name_missing_object)


def damage_kinds() -> dict[str, tuple[Damage, bool]]:
    """Return the kinds by name; the flag says whether the damage comes after the lookup."""

    def on(choose: Callable[[RecordedStage, Random], Path], change: Callable[[Path, Random], None]) -> Damage:
        return lambda stage, random: change(choose(stage, random), random)

    kinds: dict[str, tuple[Damage, bool]] = {}
    for change in FILE_DAMAGES:
        name = change.__name__.replace("_", " ")
        kinds[f"object: {name}"] = (on(_object_file, change), False)
        kinds[f"key: {name}"] = (on(_key_file, change), False)
        kinds[f"object, after the lookup: {name}"] = (on(_object_file, change), True)
    for damage in OBJECT_DAMAGES:
        name = damage.__name__.replace("_", " ")
        kinds[f"object: {name}"] = (damage, False)
        kinds[f"object, after the lookup: {name}"] = (damage, True)
    kinds |= {f"key: {damage.__name__.replace('_', ' ')}": (damage, False) for damage in KEY_DAMAGES}
    return kinds


def outcome_of(stage: RecordedStage, damage: Damage, is_late: bool, random: Random) -> str:
    """Damage the stored result of a stage, use it as a run would, and say what happened. It is intact afterwards."""
    store = Store(stage.folder.parents[1], on_damage=lambda stage, damage: None)

    def stored() -> StoredResult:
        return store.get_or_compute(stage.key, lambda: stage.result, stage.name)

    try:
        if not is_late:
            damage(stage, random)
            result = stored()
            if not stage.is_equal(result):
                return USED
            return HARMLESS if result.reused else HEALED
        result = stored()
        damage(stage, random)
        try:
            return HARMLESS if stage.is_equal(result) else USED
        except StoredResultError:
            repeated = stored()
            return REFUSED if stage.is_equal(repeated) and not repeated.reused else USED
    except Exception:
        return CRASHED


def run(folder: Path, count: int, seed: int, candidates: Mapping[str, Candidate]) -> dict[str, Counter[str]]:
    """Apply `count` damages, kind after kind, each to a random stage; return the outcomes by kind."""
    stages, random = run_small_pipeline(folder, candidates), np.random.default_rng(seed)
    kinds = damage_kinds()
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    names = list(kinds)
    for number in range(count):
        name = names[number % len(names)]
        stage = stages[int(random.integers(len(stages)))]
        outcomes[name][outcome_of(stage, *kinds[name], random)] += 1
    return outcomes


def main() -> None:
    """Print outcomes by kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = run(Path(scratch) / "store", arguments.count, arguments.seed, CANDIDATES)
    table = pd.DataFrame([{outcome: counts[outcome] for outcome in OUTCOMES} for counts in outcomes.values()])
    table.index = pd.Index(outcomes, name=f"seed {arguments.seed}")
    table.loc["sum"] = table.sum()
    print(table.to_string())


if __name__ == "__main__":
    main()
