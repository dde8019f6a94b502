"""Faults of a batch that has a history, before training and before scoring."""

from benchmarks.fault_cases import ACCEPTED, GENERATED, Fault

FAULTS: tuple[Fault, ...] = (
    Fault("clean batch", "clean", GENERATED, lambda frame, rng: frame, ACCEPTED, "training"),
)
