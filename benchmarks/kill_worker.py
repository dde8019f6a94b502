"""Run commands of Steward in forked processes, which saves the imports: a part of `python -m benchmarks.kills`.

Each line of stdin is a JSON list: the environment to add, the files for stdout and stderr, and the arguments. The
process id is printed when the command starts, and its exit code when it has ended.
"""

import json
import os
import sys

import implicit  # noqa: F401
import jinja2  # noqa: F401
import lightgbm  # noqa: F401
import matplotlib.figure  # noqa: F401
import mlflow.pyfunc
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
import sklearn.linear_model  # noqa: F401

import steward
from flows import ecommerce_recommendation  # noqa: F401


def _run(environment: dict[str, str], output: str, arguments: list[str]) -> None:
    """Run a command as in a terminal of its own, and end this process."""
    os.setsid()
    os.environ.update(environment)
    handle = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = ["steward", *arguments]
    steward.main()


def main() -> None:
    """Serve commands until stdin is closed."""
    # Read without a buffer: a forked process must not hold a part of the next line.
    with os.fdopen(0, "rb", buffering=0, closefd=False) as requests:
        while line := requests.readline():
            request = json.loads(line)
            child = os.fork()
            if not child:
                null = os.open(os.devnull, os.O_RDONLY)
                os.dup2(null, 0)
                _run(*request)
                sys.exit(0)
            print(f"pid {child}", flush=True)
            print(f"code {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)


if __name__ == "__main__":
    main()
