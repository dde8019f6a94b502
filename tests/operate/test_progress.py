"""What a command shows on stderr while it runs."""

import logging

import pytest
import typer

from operate.console import console_logging
from operate.progress import QUIET_SECONDS, LineHandler
from tasks import activity, train

log, details = logging.getLogger("steward"), train.log


@pytest.fixture(autouse=True)
def info_level(caplog: pytest.LogCaptureFixture) -> None:
    # Prefect sets it in a process that imports it.
    caplog.set_level(logging.INFO, "steward")


def test_a_long_stage_is_named_after_every_quiet_while(capsys: pytest.CaptureFixture[str]) -> None:
    handler = LineHandler()
    handler.begin("train EASE")
    began = handler.last_line = handler.activity_began = 1000.0
    for seconds in (1, QUIET_SECONDS - 0.1):
        handler.look(began + seconds)
    assert capsys.readouterr().err == ""
    handler.look(began + 20)
    assert capsys.readouterr().err == "  train EASE: running, 20 s so far\n"
    # That line counts as one.
    handler.look(handler.last_line + QUIET_SECONDS - 0.1)
    assert capsys.readouterr().err == ""
    assert QUIET_SECONDS < 10


@pytest.mark.parametrize("verbose", [False, True])
def test_details_of_a_fit_are_shown_with_verbose_only(
    verbose: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with console_logging(verbose, progress=True):
        activity.begin("train reranker")
        details.info("    reranker: content: left out, no attributes")
        log.info("  train reranker: 8.3 s")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "  train reranker: 8.3 s"
    assert len(lines) == 1 + verbose


def test_a_terminal_has_a_spinner_with_what_is_running(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with console_logging(progress=True):
        activity.begin("train [red]EASE")
        details.info("    reranker: EASE: fitted")
        log.info("  split: [bold]train 10")
        typer.echo("a result")
    out, err = capsys.readouterr()
    # Stdout is no terminal here: nothing but results is in it.
    assert out == "a result\n"
    assert "train [red]EASE" in err
    assert "  split: [bold]train 10\n" in err
    assert "fitted" not in err
