"""Datasets: their files, fetched, verified and cached, and their images and labels as tensors."""
