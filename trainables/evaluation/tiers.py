"""The tiers: which attacks measure the accuracy of a run, as plain data. No torch here.

The tier `watch` runs at every report of a training run, the stronger `rank` also at the last one and on test images. An
attack is added by a row here: in the tier `rank`, its metric ``<name>`` can be an objective and a constraint and is a
column of the tables; in the tier `watch`, trials can be pruned on ``watch/<name>``. See `metrics`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Detail = Literal["overview", "comparison", "all"]
"""How much a table shows: the few accuracies of a live view, those that runs are compared by, or all of them."""


@dataclass(frozen=True)
class AttackRow:
    """One attack of a tier.

    Attributes:
        name: unique in the tier, and that of the attack's metric.
        label: the heading of its column in tables, and its name in figures.
        attack: the function that runs, by its name in `accuracy.ATTACKS`.
        options: keyword arguments of that function; a ``loss`` goes by its name in `attacks.losses.LOSSES`.
        survivors_only: whether it attacks only the images that all attacks before it in the tier left correct. Such an
            attack counts for ``robust`` and has no metric of its own.
        shown_in: the least detailed tables and figures that have its accuracy.
    """

    name: str
    label: str
    attack: str
    options: Mapping[str, Any] = field(default_factory=dict)
    survivors_only: bool = False
    shown_in: Detail = "comparison"


_SINGLE_STEPS = (
    AttackRow("fgsm", "FGSM", "fgsm", shown_in="overview"),
    AttackRow("rfgsm", "R+FGSM", "rfgsm", shown_in="all"),
)

TIERS: dict[str, tuple[AttackRow, ...]] = {
    "watch": (
        *_SINGLE_STEPS,
        AttackRow("pgd", "PGD", "pgd", {"steps": 10}),
    ),
    "rank": (
        *_SINGLE_STEPS,
        AttackRow("pgd", "PGD", "pgd", {"steps": 40}),
        # What the final attacks find beyond gradients, for a fraction of their time; see docs/reference/metrics.md.
        AttackRow(
            "apgd_square",
            "APGD, then targeted APGD and Square",
            "apgd_square",
            {"steps": 40, "queries": 500, "nearest": 125, "targets": 4},
            survivors_only=True,
        ),
    ),
}


BENCHMARK = AttackRow("autoattack", "AutoAttack", "autoattack", shown_in="all")
"""The public benchmark, which runs beside the strongest attacks on request and is part of no tier."""


def check_tiers(tiers: Mapping[str, Sequence[AttackRow]]) -> None:
    """Check that no tier has two rows of one name.

    Raises:
        ValueError: one has; the message names the tier and the row.
    """
    for tier, rows in tiers.items():
        for name, count in Counter(row.name for row in rows).items():
            if count > 1:
                raise ValueError(f"names must be unique in a tier: {tier!r} has {count} rows named {name!r}")


check_tiers(TIERS)
