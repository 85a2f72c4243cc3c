"""How sweeps that are at work on one cluster share it: dominant resource fairness over what each of them wants."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

_TOLERANCE = 1e-9  # tenths of a GPU do not add up exactly


@dataclass(frozen=True)
class Claim:
    """What one sweep wants of a cluster: how many runs at once, and what each of them occupies."""

    wanted: int
    cpu: float
    gpu: float

    @property
    def amounts(self) -> dict[str, float]:
        """What one run occupies, by resource."""
        return {name: amount for name, amount in (("CPU", self.cpu), ("GPU", self.gpu)) if amount > 0}


def fair_shares(total: Mapping[str, float], claims: Mapping[str, Claim]) -> dict[str, int]:
    """Return how many runs of each sweep may be at work at once, at least one of each.

    Whoever has the smallest share of what its runs need most gets the next run, as long as it wants one and the whole
    cluster has room for it (Ghodsi et al. 2011). Equal sweeps get equal shares; what one leaves, others take.

    Args:
        total: what the cluster has, by resource.
        claims: of all sweeps, by a name; equal shares are given out in the order of names.
    """
    shares = dict.fromkeys(claims, 1)
    free = dict(total)
    for claim in claims.values():
        _take(free, claim)
    waiting = [(_dominant(total, claim, 1), name) for name, claim in sorted(claims.items())]
    heapq.heapify(waiting)
    while waiting:
        _, name = heapq.heappop(waiting)
        claim = claims[name]
        if shares[name] >= claim.wanted or not _fits(free, claim):
            continue  # what is free never grows: it gets no more
        _take(free, claim)
        shares[name] += 1
        heapq.heappush(waiting, (_dominant(total, claim, shares[name]), name))
    return shares


def _dominant(total: Mapping[str, float], claim: Claim, num: int) -> float:
    return max(num * amount / max(total.get(name, 0.0), _TOLERANCE) for name, amount in claim.amounts.items())


def _fits(free: Mapping[str, float], claim: Claim) -> bool:
    return all(free.get(name, 0.0) + _TOLERANCE >= amount for name, amount in claim.amounts.items())


def _take(free: dict[str, float], claim: Claim) -> None:
    for name, amount in claim.amounts.items():
        free[name] = free.get(name, 0.0) - amount
