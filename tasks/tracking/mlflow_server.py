"""MLflow's server behind access control: `python -m tasks.tracking.mlflow_server PORT`.

As `mlflow server --no-serve-artifacts`, whose login (`--app-name basic-auth`) needs further packages and a database of
users, and shows a form of its own in the browser. The application is MLflow's own, with all of its pages.
"""

import os
import sys
from typing import Any

from tasks.settings import Settings, load

# MLflow's UI starts with pages for GenAI, unless its address says otherwise.
START_PAGE = "/#/?workflowType=machine_learning"


def create_app(settings: Settings) -> Any:
    """Return MLflow's ASGI application on the database of the settings. Sets the variables that it reads."""
    # MLflow adds its own checks of host and origin only where it finds this module.
    import uvicorn  # noqa: F401
    from mlflow.environment_variables import _MLFLOW_SGI_NAME
    from mlflow.server import constants, handlers

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = settings.mlflow_uri
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = settings.mlflow_uri
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = settings.artifacts_dir.as_uri()
    os.environ[_MLFLOW_SGI_NAME.name] = "uvicorn"
    handlers.initialize_backend_stores(
        settings.mlflow_uri, settings.mlflow_uri, settings.artifacts_dir.as_uri()
    )

    from mlflow.server.fastapi_app import app

    return app


def main(port: int) -> None:
    """Serve API and UI."""
    from tasks.local_servers.serve import serve

    own_address = f"127.0.0.1:{port},localhost:{port}"
    os.environ["MLFLOW_SERVER_ALLOWED_HOSTS"] = own_address
    os.environ["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://127.0.0.1:{port}"
    serve(create_app(load()), port, START_PAGE, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
