"""Use cases: one flow file each. `pipeline` holds the one skeleton that they share."""

import logging

from tasks.library_variables import prepare_libraries
from tasks.settings import load

# Before Prefect or MLflow is imported: they read the environment once.
prepare_libraries(load())
logging.getLogger("steward").setLevel(logging.INFO)
