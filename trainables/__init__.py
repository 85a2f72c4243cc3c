"""Learns: recipes, networks, attacks and their evaluation, in one process. Only `worker` knows Ray."""

from __future__ import annotations
