"""Independent seeds derived from one: every random number of a run depends on its seed and on what it is used for."""

from __future__ import annotations

import hashlib


def seed_for(seed: int, *purpose: str | int) -> int:
    """Return a seed in [0, 2**63) for one purpose; other purposes, or another ``seed``, give independent seeds.

    Args:
        seed: of the run.
        purpose: what the random numbers are used for, such as ``"evaluation", "rank"``.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
