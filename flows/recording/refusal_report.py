"""Write a report about a file that was not scored, beside the place where its scores would be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml.errors import DataGateError
from tasks.private_folder import user_file_mode
from tasks.reporting import report
from tasks.tracking.registry import ModelVersion


@contextmanager
def refusal_report(label: str, target: Path, champion: ModelVersion) -> Iterator[dict[str, Any]]:
    """Yield a mapping for what the gates find. If one refuses the rows, write it as a page, and name that in the error.

    `label` names the files, or the database. A page about earlier rows with the same `target` is removed. Raises
    DataGateError.
    """
    page = target.with_name(f"{target.stem}.refused.html")
    page.unlink(missing_ok=True)
    found: dict[str, Any] = {}
    try:
        yield found
    except DataGateError as error:
        # A refused contract has its facts in the error, a refused difference under `drift`.
        found |= error.facts if "drift" in error.facts else {"validate": error.facts}
        page.write_text(report.render_refusal(error, label, champion, found), encoding="utf-8")
        page.chmod(user_file_mode())
        raise type(error)(
            error.expected, error.got, f"{error.next_step}; report: {page}", error.facts
        ) from None
