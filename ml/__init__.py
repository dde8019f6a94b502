"""Machine-learning techniques: functions and estimators on tables and arrays.

Nothing here reads the environment or imports Prefect, MLflow, Great Expectations or other packages of this project.
The folder is copied into every packaged model, so that the model can be loaded where Steward is not installed.
"""
