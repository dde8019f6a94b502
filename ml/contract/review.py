"""What a person still has to look at in a drafted contract."""

from ml.contract.schema import Contract


def unreviewed(contract: Contract) -> list[str]:
    """Return the points and rules of a draft that are marked for review, by place or name."""
    return [
        *(proposal.place for proposal in contract.proposals if proposal.review),
        *(rule.name for rule in contract.rules if rule.meta.review),
        *(rule.name for rule in contract.sums if rule.review),
    ]
