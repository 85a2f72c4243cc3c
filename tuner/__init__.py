"""Runs many and keeps what is best: the study decides, Ray runs, MLflow shows."""
