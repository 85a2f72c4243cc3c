"""Samplers beside Optuna's own: one that avoids repeats, and those that a space names by their class."""
