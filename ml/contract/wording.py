"""How reports speak of the data of a contract."""

from ml.contract.values import Reason, Section


class Wording(Section):
    """How reports speak of the data, where the words of the use case do not fit."""

    question: Reason | None = None
    """The question, such as "Will this customer leave?"."""
    cases: Reason | None = None
    """What the rows are, such as "customers"."""
    positives: Reason | None = None
    """What the rows of the positive class are, such as "customers who leave"."""
