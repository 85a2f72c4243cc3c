"""Bounds that the command line and the settings share; loads nothing."""

from __future__ import annotations

MAX_IMAGES = 60_000
