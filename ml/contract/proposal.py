"""Points of a drafted contract, with their evidence."""

from ml.contract.values import Bool, Reason, Section, Text


class Proposal(Section):
    """A point of a drafted contract that is no rule, with its evidence."""

    place: Text
    """The key of `meta`, such as `roles.target`."""
    reason: Reason
    """The evidence."""
    review: Bool = False
    """Whether a person still has to look at it."""
