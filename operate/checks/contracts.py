"""Check of the contracts: each can be read, and Great Expectations knows its rules."""

from collections.abc import Iterator

from ml.errors import StewardError
from operate.checks.finding import CheckContext, Finding
from tasks.use_cases import use_case_names


def contracts(context: CheckContext) -> Iterator[Finding]:
    """Check every contract of every use case."""
    from tasks.data_access.locate import load_contract
    from tasks.validate import check_rules

    folder, valid = context.settings.contracts, 0
    for case in use_case_names():
        for path in sorted((folder / case.replace("-", "_")).glob("[!.]*.json")):
            try:
                check_rules(load_contract(case, str(path), context.settings))
                valid += 1
            except OSError as error:
                message = f"{path}: {error.strerror}"
                yield Finding("contracts", "bad", message, "make it a readable file")
            except StewardError as error:
                message = f"{path}: expected {error.expected}; got {error.got}"
                yield Finding("contracts", "bad", message, error.next_step)
    if valid:
        yield Finding("contracts", "ok", f"{valid} contracts in {folder} are valid")
