"""Optuna: ledgers of runs, samplers, pruners, warm starts, and the plan of confirming."""
