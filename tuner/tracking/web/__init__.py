"""Pages that a command serves on this machine, to whom it has printed their link: MLflow's, and Optuna's dashboard."""
