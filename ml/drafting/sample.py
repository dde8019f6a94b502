"""Turn the cells of a sample into typed columns: padding, marks of numbers, formats of dates, missing values."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ml.contract.read_options import ReadOptions
from ml.data.casting import TEXT_DTYPE
from ml.data.written_values import from_written
from ml.drafting.columns import (
    Column,
    describe_columns,
    find_missing_words,
    padded_cells,
    retyped,
    without_missing,
    without_padding,
)
from ml.drafting.draft import sample_rows
from ml.drafting.proposals import Proposal
from ml.drafting.request import DraftRequest
from ml.drafting.spellings import SAME_LETTERS, Misspelling, find_repairs
from ml.drafting.written import MIN_WRITTEN, find_written


@dataclass(frozen=True)
class Sample:
    """The typed columns of a sample, the cells that they come from, and what was found out about how they are written.

    `cells` are as they came, without words for missing values; `plain` are the same with numbers and times as they are
    written by default. `read` are keys of `meta.read` without the columns.
    """

    columns: Sequence[Column]
    cells: Mapping[str, pd.Series]
    plain: Mapping[str, pd.Series]
    read: Mapping[str, Any]
    proposals: Sequence[Proposal]

    def retype(self, kinds: Mapping[str, str]) -> "Sample":
        """Return the same with other types of some columns."""
        changed = [
            retyped(column, self._cells_as(column.name, kind), kind)
            if (kind := kinds.get(column.name, column.kind)) != column.kind
            else column
            for column in self.columns
        ]
        return replace(self, columns=changed)

    def _cells_as(self, name: str, kind: str) -> pd.Series:
        return (self.cells if kind == "category" else self.plain)[name]

    def repair_spellings(self, given: Collection[str]) -> "Sample":
        """Return the same with misspelt categories repaired; those in `given` are right."""
        columns, cells, replacements = [], dict(self.cells), {}
        proposals: list[Proposal] = []
        for column in self.columns:
            wrong = find_repairs(column, given)
            if wrong:
                values = {error.wrong: error.right for error in wrong}
                text = cells[column.name].astype(TEXT_DTYPE)
                cells[column.name] = text.mask(text.isin([*values]), text.map(values))
                replacements[column.name] = values
                proposals += _repair_proposals(column, wrong)
                column = retyped(column, cells[column.name], column.kind)
            columns.append(column)
        if not replacements:
            return self
        read = {**self.read, "replace": replacements}
        return replace(self, columns=columns, cells=cells, read=read, proposals=[*self.proposals, *proposals])

    def read_options(self, kinds: Mapping[str, str]) -> dict[str, Any]:
        """Return `meta.read` with these types; formats of columns that are no times after all are left out."""
        read = {**self.read, "columns": dict(kinds)}
        formats = {c: form for c, form in read.pop("date_formats", {}).items() if kinds.get(c) == "time"}
        return {**read, "date_formats": formats} if formats else read


def take_sample(frame: pd.DataFrame, request: DraftRequest) -> Sample:
    """Return the typed columns of a sample of the rows."""
    rows, request, padding = _without_padding_where_needed(sample_rows(frame), request)
    written = find_written(rows, request.read.get("separator", ","))
    missing = find_missing_words(written.plain)
    words = [proposal.place.removeprefix("read.missing.") for proposal in missing]
    cells, plain = (
        {str(name): without_missing(part[name], ["", *words]) for name in part.columns}
        for part in (rows, written.plain)
    )
    read = {**request.read, **written.read, **({"missing": ["", *words]} if words else {})}
    sample = Sample(describe_columns(plain), cells, plain, read, [])
    # Labels are as they came.
    labels = {c.name for c in sample.columns if c.kind == "category" and c.name in written.changed}
    if labels:
        changed = [retyped(c, cells[c.name], c.kind) if c.name in labels else c for c in sample.columns]
        sample = replace(sample, columns=changed)
    misfits = _misfits(sample)
    sample = sample.retype(dict.fromkeys(misfits, "category"))
    proposals = [
        *(Proposal(f"read.{key}", reason, 0.5) for key, reason in request.doubts.items()),
        *padding,
        *written.proposals,
        *missing,
        *(Proposal(f"read.columns.{name}", reason, 0.8) for name, reason in misfits.items()),
    ]
    return replace(sample, proposals=proposals)


def _repair_proposals(column: Column, wrong: Sequence[Misspelling]) -> Iterator[Proposal]:
    same = [error for error in wrong if error.why == SAME_LETTERS]
    place = f"read.replace.{column.name}"
    if same:
        rows = sum(error.rows for error in same)
        example = f"such as {same[0].wrong!r} for {same[0].right!r}"
        which = f"{rows:,} rows with {len(same)} spellings in another case or with other blanks"
        reason = f"{which}, {example}, are repaired"
        yield Proposal(place, reason, 0.4)
    for error in wrong:
        if error.why != SAME_LETTERS:
            reason = (
                f"{error.wrong!r} in {error.rows:,} rows is probably {error.right!r} with other letters, which "
                f"{error.right_rows:,} rows have: repaired"
            )
            yield Proposal(f"{place}.{error.wrong}", reason, 0.7)


def _without_padding_where_needed(
    sample: pd.DataFrame, request: DraftRequest
) -> tuple[pd.DataFrame, DraftRequest, list[Proposal]]:
    """Strip the cells of a text file where some have white space at an end, and let its reader do so."""
    padded = padded_cells(sample) if request.read.get("format") != "parquet" else 0
    if not padded and not request.read.get("strip"):
        return sample, request, []
    reason = (
        f"{padded:,} cells have white space at an end" if padded else "some cells have white space at an end"
    )
    stripped = replace(request, read={**request.read, "strip": True})
    return without_padding(sample), stripped, [Proposal("read.strip", reason, 0.1)]


def _misfits(sample: Sample) -> dict[str, str]:
    """Return the columns of numbers that are not written with the marks of the others, with the reason."""
    decimal, thousands = sample.read.get("decimal", "."), sample.read.get("thousands", "")
    if (decimal, thousands) == (".", ""):
        return {}
    options = ReadOptions(columns={}, decimal=decimal, thousands=thousands)
    found = {}
    for column in sample.columns:
        cells = sample.cells[column.name]
        if not column.is_numeric or not isinstance(cells.dtype, pd.StringDtype):
            continue
        present = cells[column.typed.notna().to_numpy()]
        share = float(from_written(present, column.kind, options).isna().mean()) if len(present) else 0.0
        if share > 1.0 - MIN_WRITTEN:
            found[column.name] = (
                f"a category: {share:.1%} of its numbers have other marks than those of other columns"
            )
    return found
