"""Bounds that the command line and the space files share; loads nothing."""

from __future__ import annotations

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}\Z"
DEVICE_PATTERN = r"^cuda(:[0-9]{1,3})?$"
TRIALS_LIMIT = 1_000_000
MAX_SEEDS = 1000
MAX_CONFIRMED = 1000  # configurations
MAX_CONCURRENT = 100_000  # runs, or processors
MAX_WORKERS = 1024  # processes of one machine
