"""Samplers beside Optuna's own: what they learn from, one that avoids repeats, and those that a space names."""
