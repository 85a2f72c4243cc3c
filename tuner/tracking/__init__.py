"""MLflow: the mirror of a sweep, and the server that shows it."""
