"""What the name of a column says about it: words of which names are made."""

import re

# A name is divided at case changes, digits and signs, and each word is compared in lower case.
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")

IDENTIFIER = {
    "id",
    "nbr",
    "no",
    "nr",
    "num",
    "number",
    "key",
    "uuid",
    "guid",
    "index",
    "idx",
    "pk",
    "code",
    "ref",
}
ROW_NUMBER = {"index", "unnamed", "row", "rownum", "rowid", "idx"}
ENTITY = {
    "patient", "customer", "client", "user", "account", "member", "person", "subject", "household", "visitor",
    "borrower", "applicant", "company", "session",
}  # fmt: skip
SITE = {"hospital", "site", "centre", "center", "branch", "clinic", "facility", "ward", "hub"}
SENSITIVE = {
    "age", "sex", "gender", "race", "ethnic", "ethnicity", "religion", "nationality", "marriage", "marital",
    "disability", "foreign", "pregnant", "birth",
}  # fmt: skip
CODED = {
    "type", "code", "class", "category", "gender", "sex", "race", "education", "marriage", "marital", "status", "zip",
    "zipcode", "postcode", "postal", "flag", "group", "region", "id", "segment", "kind", "ethnicity",
}  # fmt: skip
AFTER_OUTCOME = {
    "duration", "followup", "follow", "outcome", "result", "discharge", "discharged", "recovered", "recovery",
    "response", "resolution", "resolved", "closed", "collected", "chargeoff", "settlement", "survival", "disputed",
}  # fmt: skip
TARGET = {
    "target", "label", "class", "outcome", "default", "defaulted", "churn", "churned", "y", "readmitted", "event",
    "died", "death", "die", "survived", "delinquent", "dlqin", "seriousdlqin", "bad", "fraud", "diagnosis", "disease",
    "response", "result", "intent", "sentiment", "category", "product", "converted", "income", "cardio",
    "readmission", "mortality", "live",
}  # fmt: skip
NEVER_ZERO = {
    "glucose", "pressure", "bp", "bmi", "chol", "cholesterol", "height", "weight", "insulin", "skinthickness",
    "thickness", "trestbps", "trtbps", "heart", "pulse", "haemoglobin", "hemoglobin", "sodium", "albumin", "platelet",
    "platelets", "temperature", "thalach", "creatinine", "saturation", "age", "mass", "hi", "lo",
}  # fmt: skip
TIME = {
    "time",
    "date",
    "timestamp",
    "datetime",
    "at",
    "on",
    "day",
    "created",
    "when",
    "ts",
    "eventdate",
    "invoicedate",
}
ITEM = {
    "item",
    "product",
    "movie",
    "stock",
    "sku",
    "article",
    "book",
    "song",
    "track",
    "itemid",
    "sid",
    "isbn",
    "asin",
}
USER = {
    "user",
    "customer",
    "client",
    "session",
    "visitor",
    "member",
    "uid",
    "reviewer",
    "household",
    "basket",
    "person",
}
ORDER = {"position", "timeframe", "order", "sequence", "rank", "step", "seq", "pos"}
RATING = {"rating", "stars", "score"}
SEGMENT = {"country", "region", "state", "segment", "market", "nation"}


def words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: `MaxHeartRate_id` has max, heart, rate and id."""
    return tuple(word.lower() for word in WORD.findall(name))


def has_word(name: str, known: set[str]) -> bool:
    """Return whether one of the words of a name, or the name as a whole without signs, is known."""
    parts = words(name)
    return any(part in known for part in parts) or "".join(parts) in known
