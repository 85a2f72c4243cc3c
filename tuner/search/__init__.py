"""Optuna's part: the ledger, samplers, warm starts and the plan of confirming."""
