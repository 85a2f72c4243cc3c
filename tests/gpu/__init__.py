"""Measurements and checks that need a GPU: ``python -m tests.gpu --help``.

They need torch, numpy, pydantic, safetensors and the checkout alone: no Ray, Optuna or MLflow.
"""
