"""Residual networks, and a convolution that attacks compute faster."""
