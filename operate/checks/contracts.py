"""Contracts: whether each is read, and its rules are known to Great Expectations."""

from collections.abc import Iterator

from ml.errors import StewardError
from operate.checks.finding import Finding, Look
from tasks.use_cases import cases


def contracts(look: Look) -> Iterator[Finding]:
    """Every contract of every use case."""
    from tasks.locate import load_contract
    from tasks.validate import check

    right = 0
    for case in cases():
        for path in sorted((look.settings.contracts / case.replace("-", "_")).glob("[!.]*.json")):
            try:
                check(load_contract(case, str(path), look.settings))
                right += 1
            except OSError as error:
                yield Finding(
                    "contracts", "bad", f"{path}: {error.strerror}", "make it a file that can be read"
                )
            except StewardError as refusal:
                found = f"{path}: expected {refusal.expected}; got {refusal.got}"
                yield Finding("contracts", "bad", found, refusal.next_step)
    if right:
        yield Finding("contracts", "ok", f"{right} of {look.settings.contracts} are read and known to GX")
