"""The notebook in docs/ runs from top to bottom in a process of its own, as a kernel runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import steward

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
# What a test may ask after the last cell.
ENDING = """
import json
page = report(outcome)
print(json.dumps({
    "verdict": outcome.verdict, "data": outcome.champion, "decision": champion("fintech-risk", "my_loans")["verdict"],
    "rows": len(scores), "columns": list(scores), "page": page._repr_html_()[:16],
}))
"""


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, home_of_a_server: Path) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert {cell["cell_type"] for cell in notebook["cells"]} == {"code", "markdown"}
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"STEWARD_HOME": str(home_of_a_server), "PYTHONPATH": str(ROOT)}
    script = "\n".join([*code, ENDING])
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = json.loads(done.stdout.splitlines()[-1])
    assert printed["verdict"] == printed["decision"] == "promote"
    assert (printed["rows"], printed["page"]) == (200, '<iframe srcdoc="')
    assert {"application_id", "probability", "model_version"} <= set(printed["columns"])
    # Nothing but the contract that the notebook names is left beside it.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "my_loans.json"]


def test_functions_of_notebooks_are_importable_and_no_commands() -> None:
    from operate import notebook

    for name in steward.NOTEBOOK_FUNCTIONS:
        assert getattr(steward, name) is getattr(notebook, name)
    assert not hasattr(steward, "nothing")
