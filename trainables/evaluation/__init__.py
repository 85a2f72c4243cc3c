"""Accuracy, clean and under attack, and signs of masked gradients: what a training loop calls."""
