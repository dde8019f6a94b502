"""Use cases: one flow file each. `pipeline` holds the one skeleton that they share."""

import logging

from tasks import settings

# Before Prefect or MLflow is imported: they read the environment once.
settings.prepare_libraries(settings.load())
logging.getLogger("steward").setLevel(logging.INFO)
