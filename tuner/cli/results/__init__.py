"""Commands that read a sweep, finished or running; they need neither Ray nor MLflow."""
