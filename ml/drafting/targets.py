"""The column to predict, its classes, and which of them is the positive one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.drafting import names
from ml.drafting.columns import Column
from ml.drafting.proposals import Proposal
from ml.drafting.request import CaseKind, DraftRequest
from ml.drafting.threshold import threshold_target
from ml.errors import UsageError

# Values that are the positive class of two, in lower case.
POSITIVE = (
    "yes",
    "y",
    "true",
    "t",
    "positive",
    "bad",
    "default",
    "churned",
    "churn",
    "died",
    "dead",
    "fraud",
    "case",
    "sick",
)
NEGATIVE = ("no", "n", "false", "f", "negative", "good", "paid", "stayed", "alive", "control", "healthy")
MAX_CLASSES = 200
# Values of a numeric target that are still classes.
MAX_GRADES = 10
SHOWN_CLASSES = 12


@dataclass(frozen=True)
class TargetDraft:
    """The target as `meta.roles` has it, with its type and the evidence."""

    column: str
    definition: Mapping[str, Any]
    kind: str
    proposals: tuple[Proposal, ...]

    @property
    def is_number(self) -> bool:
        """Return whether the target is a number, and not a class."""
        return bool(self.definition.get("number"))

    def is_positive(self, column: Column) -> np.ndarray | None:
        """Return which rows are of the positive class; None where there is none."""
        if "above" in self.definition:
            return np.asarray(column.typed > self.definition["above"], dtype=bool)
        if "positive" not in self.definition:
            return None
        mask: np.ndarray = column.typed.astype("str").isin(self.definition["positive"]).to_numpy()
        return mask


def draft_target(columns: Sequence[Column], request: DraftRequest) -> TargetDraft:
    """Return the target: the given column, else the one that looks most like one.

    Raises UsageError where none is found, where the given one does not exist, and where no row has the positive class
    or is above the given number; the error then lists the classes with their counts, or quantiles.
    """
    proposals = []
    given, positive = request.target, request.positive
    if request.above is not None and (positive or request.case.several_classes):
        got = "--positive too" if positive else "a target of several classes"
        raise UsageError("--above for two classes, of which it names one", got, "leave --above out")
    if given is None:
        column, proposal = _guess(columns, request.case)
        proposals.append(proposal)
    else:
        column = _find(columns, given)
        proposals.append(Proposal("roles.target", "given on the command line"))
    classes = column.counts
    if len(classes) < 2:
        raise UsageError(
            f"a target with at least two values in {column.name!r}",
            f"{len(classes)}",
            f"choose another with --target: {_choices(columns)}",
        )
    if request.above is not None:
        target, kind, proposal = threshold_target(column, request.above)
        return TargetDraft(column.name, target, kind, (*proposals, proposal))
    if positive:
        return TargetDraft(
            column.name,
            {"column": column.name, "positive": _known(positive, column)},
            "category",
            tuple(proposals),
        )
    if request.case.several_classes:
        return _several(column, request.case, proposals)
    if len(classes) == 2:
        label, proposal = _positive_class(column)
        target = {"column": column.name, "positive": [label]}
        return TargetDraft(column.name, target, "category", (*proposals, proposal))
    if request.case.numbers and column.is_numeric and column.distinct > MAX_GRADES:
        return _number(column, proposals)
    return _grades_or_classes(column, request.case, proposals)


def _guess(columns: Sequence[Column], case: CaseKind) -> tuple[Column, Proposal]:
    """Return the column that looks most like a target: by its name, its values and its place."""
    scored = []
    for column in columns:
        is_grade = (
            column.kind == "integer" and 2 < column.distinct <= MAX_GRADES and column.counts.index[0] == "0"
        )
        if not column.name or column.distinct < 2 or column.n_missing > 0.2 * column.rows:
            continue
        by_name = names.has_word(column.name, names.TARGET)
        place = column.position in (0, len(columns) - 1)
        last = column.position == len(columns) - 1
        is_number = case.numbers and column.is_numeric and column.distinct > MAX_GRADES and by_name and last
        is_class = (
            column.distinct == 2 or is_grade or (column.kind == "category" and column.distinct <= MAX_CLASSES)
        ) and column.distinct <= max(2, column.rows // 4)
        if not (is_class or is_number):
            continue
        # The last words of many tables are their targets.
        score = (
            (3.0 if is_class else 1.5) * by_name
            + (column.distinct == 2)
            + 1.5 * last
            + 0.5 * place
            + (case.several_classes and column.distinct > 2)
        )
        scored.append((score, column.position, column, by_name, last))
    if not scored:
        raise UsageError(
            "a column to predict", "none that looks like one", f"name it with --target: {_choices(columns)}"
        )
    scored.sort(key=lambda entry: (-entry[0], -entry[1]))
    score, _, column, by_name, last = scored[0]
    rivals = [entry[2].name for entry in scored[1:4] if entry[0] > score - 1.0]
    evidence = [f"{column.distinct} values"] + ["a name of targets"] * by_name + ["the last column"] * last
    reason = f"guessed: {', '.join(evidence)}" + (
        f"; it could also be {', '.join(map(repr, rivals))}" if rivals else ""
    )
    doubt = 0.5 if by_name and not rivals else 0.8 if by_name or last else 1.0
    return column, Proposal("roles.target", reason, doubt)


def _find(columns: Sequence[Column], name: str) -> Column:
    found = next((column for column in columns if column.name == name != ""), None)
    if found is None:
        raise UsageError(
            f"a column of the file as --target: {_choices(columns)}", repr(name), "name one of them"
        )
    return found


def _choices(columns: Sequence[Column]) -> str:
    named = [repr(column.name) for column in columns]
    return ", ".join(named[:40]) + (f" and {len(named) - 40} more" if len(named) > 40 else "")


def _known(positive: Sequence[str], column: Column) -> list[str]:
    """Return the positive values. Raises UsageError, with the classes and their counts, for one that no row has."""
    unknown = [value for value in positive if value not in column.counts.index]
    if unknown:
        raise UsageError(
            f"a class of {column.name!r} as --positive: {class_counts(column)}",
            ", ".join(map(repr, unknown)),
            "name one or more of them",
        )
    if len({*positive}) == column.distinct:
        raise UsageError(
            f"some of the classes of {column.name!r} as --positive: {class_counts(column)}",
            "all of them",
            "leave at least one as the negative class",
        )
    return list(dict.fromkeys(positive))


def class_counts(column: Column) -> str:
    """Return the classes of a column with their rows, the most frequent first."""
    shown = [f"{label!r} ({count:,})" for label, count in column.counts.head(SHOWN_CLASSES).items()]
    rest = column.distinct - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def _positive_class(column: Column) -> tuple[str, Proposal]:
    """Return the positive one of two classes: by its word, else the rarer one."""
    labels = [str(label) for label in column.counts.index]
    words = [label.strip().strip(".").casefold() for label in labels]
    place = "roles.target.positive"
    share = column.counts / column.counts.sum()
    for label, word, other in zip(labels, words, words[::-1], strict=True):
        if (
            (word, other) in (("1", "0"), ("1", "-1"))
            or (word in POSITIVE and other not in POSITIVE)
            or (other in NEGATIVE and word not in NEGATIVE)
        ):
            return label, Proposal(
                place, f"{label!r} against {labels[1 - labels.index(label)]!r}; {share[label]:.1%}", 0.15
            )
        if other in (f"not{word}", f"no{word}", f"not {word}", f"no {word}", f"non-{word}"):
            return label, Proposal(
                place, f"the other class is its negation; {share[label]:.1%} of the rows", 0.15
            )
    rarer = labels[-1]
    return rarer, Proposal(
        place, f"{rarer!r} is the rarer class ({share[rarer]:.1%}); the other is {labels[0]!r}", 0.9
    )


def _several(column: Column, case: CaseKind, proposals: list[Proposal]) -> TargetDraft:
    if column.distinct > MAX_CLASSES:
        raise UsageError(
            f"a target with at most {MAX_CLASSES} classes",
            f"{column.distinct:,} in {column.name!r}",
            "name another with --target" + (", or leave --classes out" if case.classes_on_request else ""),
        )
    labels = sorted(str(label) for label in column.counts.index)
    rare = int((column.counts < 10).sum())
    reason = f"{len(labels)} classes" + (f", of which {rare} have fewer than 10 rows" if rare else "")
    classes = Proposal("roles.target.labels", reason, 0.5 if rare else 0.1)
    return TargetDraft(
        column.name, {"column": column.name, "labels": labels}, "category", (*proposals, classes)
    )


def _number(column: Column, proposals: list[Proposal]) -> TargetDraft:
    """Return the target of a use case for classes whose column is an amount, a price or another number."""
    low, median, high = np.quantile(column.present, [0.05, 0.5, 0.95])
    reason = (
        f"a number with {column.distinct:,} values, 90 % of them from {low:.4g} to {high:.4g}, median {median:.4g}:"
        " predicted as it is; two classes with --above NUMBER"
    )
    definition = {"column": column.name, "number": True}
    return TargetDraft(
        column.name, definition, column.kind, (*proposals, Proposal("roles.target.number", reason, 0.3))
    )


def _grades_or_classes(column: Column, case: CaseKind, proposals: list[Proposal]) -> TargetDraft:
    """Return the target of a use case for two classes whose column has more values."""
    may_have_classes = case.classes_on_request and column.distinct <= MAX_CLASSES
    place, numbers = "roles.target.positive", column.present if column.is_numeric else None
    if numbers is not None and column.distinct <= MAX_GRADES and numbers.min() == 0:
        share = float((numbers > 0).mean())
        reason = f"grades from 0 to {numbers.max():g}; above 0 are {share:.1%} of the rows"
        definition = {"column": column.name, "above": 0}
        return TargetDraft(column.name, definition, column.kind, (*proposals, Proposal(place, reason, 0.8)))
    if column.distinct <= MAX_GRADES:
        rarer = str(column.counts.index[-1])
        reason = f"{rarer!r} is the rarest of {column.distinct} classes: {class_counts(column)}"
        reason += "; each of them is predicted with --classes" if may_have_classes else ""
        definition = {"column": column.name, "positive": [rarer]}
        return TargetDraft(column.name, definition, "category", (*proposals, Proposal(place, reason, 1.0)))
    raise UsageError(
        f"a target with classes in {column.name!r}",
        f"{column.distinct:,} different values: {class_counts(column) if column.distinct < 50 else 'numbers or texts'}",
        "name the positive ones with --positive VALUE"
        + (", predict each class with --classes" if may_have_classes else "")
        + ", or another column with --target",
    )
