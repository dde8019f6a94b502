"""Stages: what each of them left in the store, from the model that was registered back to the table that was read."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from flows.lineage.link import CHANGED, UNCHECKED, Link
from flows.lineage.model_version import Folder, Trace
from ml.data.digest import digest_of


def links(trace: Trace) -> Iterator[Link]:
    """The chosen fit, the golden rows, the other fits, then split, validation and table as far as facts tell."""
    yield _model(trace)
    yield _golden(trace)
    chosen = _fit(trace)
    for name, line in trace.stages.items():
        if name.startswith(("train ", "refit ")) and line["digest"] != chosen:
            yield _link("fit", line, trace.held(line["digest"]), name, (), {})
    for name, tell in (("split", _split), ("validate", _validated), ("source", _table)):
        if name in trace.stages:
            yield tell(trace, trace.stages[name], trace.held(trace.stages[name]["digest"]))


def _nested(value: Any) -> bool:
    """Whether a hyperparameter is made of candidates itself: too long for a line."""
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


def _model(trace: Trace) -> Link:
    """The fit that the package was made from."""
    name, digest = trace.version.tags.get("candidate", ""), _fit(trace)
    if not digest:
        return Link(
            "model", name, UNCHECKED, ("neither package nor facts are there to tell which fit it was",)
        )
    stage, fit = trace.stages.get(f"train {name}", {}), trace.held(digest)
    parameters = fit.manifest["facts"]["parameters"] if fit.path else stage.get("parameters", {})
    told = ", ".join(f"{k}={v}" for k, v in parameters.items() if k != "candidate" and not _nested(v))
    said = f"{digest[:12]}, {name}" + (f" ({told})" if told else "")
    again = bool(stage) and digest != stage["digest"]
    others = [line["candidate"] for line in trace.facts.get("leaderboard", []) if not line["leads"]]
    details = ["fitted again, from all that happened before the test"] if again else []
    details += [f"chosen on valid rows before {', '.join(others)}"] if others else []
    details += [f"{line['candidate']} was skipped: {line['why']}" for line in trace.facts.get("skipped", [])]
    recorded = {"candidate": name, "parameters": parameters, "digest": digest, "path": str(fit.path or "")}
    return Link("model", said, fit.status, (*_why(fit), *details), recorded)


def _fit(trace: Trace) -> str:
    """The digest of the fit inside of the package: the content tells it, whichever stage made it."""
    prefix, files = "model/", trace.package.manifest.get("files", {})
    inside = {name.removeprefix(prefix): sha for name, sha in files.items() if name.startswith(prefix)}
    if inside:
        return digest_of({"tables": {}, "files": inside})
    return str(trace.stages.get(f"train {trace.version.tags.get('candidate')}", {}).get("digest", ""))


def _golden(trace: Trace) -> Link:
    golden = trace.golden()
    rows = _rows(golden, ["golden"]).get("golden")
    said = f"{rows or 'the'} rows on which the package proved itself, and its answers"
    return Link("golden", said, golden.status, _why(golden), {"path": str(golden.path or "")})


def _split(trace: Trace, line: Mapping[str, Any], stored: Folder) -> Link:
    """The policy and the sizes of the parts."""
    facts = trace.facts["split"]
    sizes = {name: part["rows"] for name, part in facts["parts"].items()}
    policy = ", ".join(f"{name} {value}" for name, value in facts.get("policy", {}).items() if value)
    said = ", ".join(f"{name} {rows:,}" for name, rows in sizes.items())
    wrong = _miscounted(sizes, _rows(stored, list(sizes)))
    return _link("split", line, stored, said, wrong, facts, (policy,) if policy else ())


def _validated(trace: Trace, line: Mapping[str, Any], stored: Folder) -> Link:
    """What was set aside by which rule, and where it lies."""
    facts = trace.facts["validate"]
    said = ", ".join(f"{facts[k]:,} {k}" for k in ("clean", "quarantined", "excluded"))
    details = [
        f"{rule['action']} {rule['bad']:,} of {rule['rows']:,} by {rule['rule']}: {rule['reason']}"
        for rule in facts["rules"]
        if rule["bad"] and rule["action"] in ("quarantine", "exclude")
    ]
    counted = _rows(stored, ["clean"])
    for count, part in (("quarantined", "quarantine"), ("excluded", "excluded")):
        if stored.path:
            path = stored.path / f"{part}.parquet"
            counted[count] = int(pd.read_parquet(path, columns=["row"])["row"].nunique())
            details += [f"{count} rows: {path}"] if facts[count] else []
    told = f"{facts['rows']:,} rows = {said}"
    return _link("validate", line, stored, told, _miscounted(facts, counted), facts, tuple(details))


def _table(trace: Trace, line: Mapping[str, Any], stored: Folder) -> Link:
    """The table as it was read."""
    facts = trace.facts["source"]
    dropped = (f"dropped columns: {', '.join(facts['dropped_columns'])}",) if facts["dropped_columns"] else ()
    wrong = _miscounted(facts, _rows(stored, ["rows"]))
    return _link("table", line, stored, f"{facts['rows']:,} rows", wrong, facts, dropped)


def _rows(stored: Folder, parts: list[str]) -> dict[str, int]:
    """Rows of each part, counted now; empty where it cannot be."""
    if not stored.path:
        return {}
    return {part: pq.read_metadata(stored.path / f"{part}.parquet").num_rows for part in parts}


def _miscounted(facts: Mapping[str, Any], counted: Mapping[str, int]) -> tuple[str, ...]:
    wrong = [part for part, rows in counted.items() if facts[part] != rows]
    return tuple(f"facts.json says {facts[part]} {part}, the store has {counted[part]}" for part in wrong)


def _link(
    name: str,
    line: Mapping[str, Any],
    stored: Folder,
    said: str,
    wrong: tuple[str, ...],
    facts: Mapping[str, Any],
    details: tuple[str, ...] = (),
) -> Link:
    """A stage's object, by its digest, and what is `wrong` with it beyond that."""
    recorded = {"stage": line["stage"], "digest": line["digest"], "path": str(stored.path or "")}
    return Link(
        name,
        f"{line['digest'][:12]}, {said}",
        CHANGED if wrong else stored.status,
        (*_why(stored), *wrong, *details),
        {**recorded, **facts},
    )


def _why(folder: Folder) -> tuple[str, ...]:
    return (folder.why,) if folder.why else ()
