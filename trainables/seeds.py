"""Independent seeds from one: every random number of a run follows from its seed and the purpose that it serves."""

from __future__ import annotations

import hashlib


def seed_for(seed: int, *purpose: str | int) -> int:
    """Return a seed for one purpose, in [0, 2**63): different purposes give independent numbers."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
