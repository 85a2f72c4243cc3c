"""MLflow's registry of models: the best run of each sweep, to be loaded by its alias."""
