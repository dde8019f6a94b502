"""What `steward up` starts on this machine: Prefect server, MLflow UI, worker, deployments."""
