"""The pictures of a sweep and of its runs: Matplotlib figures as PNG files."""
