"""Datasets: fetched, verified, cached, and as tensors."""
