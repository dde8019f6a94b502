"""Techniques: functions and estimators on tables and arrays.

No environment, no Prefect, MLflow or Great Expectations, and nothing of ours but `ml` itself: this folder travels
inside every packaged model, so that a model can be loaded where Steward is not installed.
"""
