"""Accuracy without an attack and under the attacks of a tier: the share of images that are classified correctly.

``robust`` is the per-image worst case: an image counts only if it is correct under every attack of the tier. The
tier `rank` also checks for masked gradients, which make accuracies under gradient attacks meaningless.
Which attacks there are is in `attack_table`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from trainables.attacks import gradient as attacks
from trainables.attacks import losses
from trainables.attacks.losses import LogitsFn
from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm
from trainables.data.tensors import Split
from trainables.evaluation import masking
from trainables.evaluation.attack_table import Attack, attacks_of
from trainables.evaluation.measured import Measured, MeasureRunner, as_called
from trainables.evaluation.metrics import accuracy_of


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode inside the context, and each of its modules back into its own mode after it."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, was_training in modes:
            part.training = was_training


def evaluate(
    classifier: nn.Module,
    split: Split,
    *,
    epsilon: float,
    tier: str,
    seed: int = 0,
    further: Sequence[Attack] = (),
    norm: Norm = "linf",
) -> dict[str, float]:
    """Measure a classifier's accuracy without an attack and under every attack of a tier, on all images of a split.

    The result depends on the arguments alone.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; run in evaluation mode and left in its own.
        split: the images and their labels.
        epsilon: the attacks' radius in pixels of [0, 1].
        tier: ``watch`` or ``rank``, see `tiers`.
        seed: of the attacks' random starts.
        further: attacks after those of the tier, see `attack_table.further_attacks`.
        norm: of the ball in which the attacks search.

    Returns:
        Shares of the images in [0, 1], as `AttackResults.accuracies` names them; the tier ``rank`` adds what
        `masking.check_masking` returns.
    """
    return measure(classifier, split, epsilon=epsilon, tier=tier, seed=seed, further=further, norm=norm).read()


def measure(
    classifier: nn.Module,
    split: Split,
    *,
    epsilon: float,
    tier: str,
    seed: int = 0,
    runner: MeasureRunner | None = None,
    further: Sequence[Attack] = (),
    norm: Norm = "linf",
) -> Measured:
    """Measure what `evaluate` returns, without waiting for the device.

    Args:
        classifier: see `evaluate`, as for the other arguments.
        split: see `evaluate`; the first images of one and the same, whatever their number, if a runner is given.
        epsilon: see `evaluate`.
        tier: see `evaluate`.
        seed: see `evaluate`.
        runner: how functions of the classifier run; by default as they are called. With further attacks they are run
            as they are called: what others write may do what cannot be recorded.
        further: see `evaluate`.
        norm: see `evaluate`.
    """
    runner = as_called(split.device) if further or runner is None else runner
    table, of_what = [*attacks_of(tier, norm), *further], (tier, len(split), epsilon, norm)

    def attack(networks: Sequence[nn.Module], rng: torch.Generator) -> torch.Tensor:
        return run_attacks(networks[0], split, epsilon, table, rng).counts()

    def look_at_gradients(networks: Sequence[nn.Module], rng: torch.Generator) -> torch.Tensor:
        return masking.measure_gradients(networks[0], split, epsilon, rng, norm)

    def metrics(values: Sequence[torch.Tensor]) -> dict[str, float]:
        found = _accuracies(table, values[0], len(split), tier)
        return found | masking.judge(values[1], epsilon, split, found, norm) if tier == "rank" else found

    with evaluating(classifier):
        tensors = [runner(("accuracy", *of_what), seed_for(seed, "evaluation", tier), [classifier], attack)]
        if tier == "rank":
            number = seed_for(seed, masking.PURPOSE)
            tensors.append(runner(("masking", *of_what), number, [classifier], look_at_gradients))
    return Measured(tuple(tensors), metrics)


@dataclass(frozen=True)
class AttackResults:
    """Which images of a split, ``(n,)`` booleans, are classified correctly under each attack of a table.

    Attributes:
        table: the attacks in the order in which they ran.
        clean: which images are correct without an attack.
        after: by attack, which images are correct under it; under an attack on survivors only, an image that an
            earlier attack fooled counts as incorrect.
        seconds: how long each attack ran.
    """

    table: Sequence[Attack]
    clean: torch.Tensor
    after: dict[str, torch.Tensor]
    seconds: dict[str, float]

    def still_correct(self, *names: str) -> torch.Tensor:
        """Return which images ``(n,)`` are correct without an attack and under each of the attacks named."""
        return torch.stack([self.clean, *(self.after[name] for name in names)]).all(0)

    def accuracies(self, tier: str = "rank") -> dict[str, float]:
        """Return shares of the images in [0, 1] by metric.

        ``clean`` is without an attack, ``<attack>`` under one attack on all images, and ``robust`` the share that is
        correct under every attack of the table; those of the tier `watch` begin with ``watch/``.

        Args:
            tier: that the table is of.
        """
        return _accuracies(self.table, self.counts(), len(self.clean), tier)

    def counts(self) -> torch.Tensor:
        """Return how many images are correct by metric, in the order of `accuracies`, on the images' device."""
        of_all = [self.after[row.name] for row in self.table if not row.survivors_only]
        return torch.stack([self.clean, *of_all, self.still_correct(*self.after)]).sum(1)


def _accuracies(table: Sequence[Attack], counts: torch.Tensor, num_images: int, tier: str) -> dict[str, float]:
    names = ["clean", *(row.name for row in table if not row.survivors_only), "robust"]
    return {accuracy_of(name, tier): count / num_images for name, count in zip(names, counts.tolist(), strict=True)}


def run_attacks(
    classifier: LogitsFn, split: Split, epsilon: float, table: Sequence[Attack], rng: torch.Generator
) -> AttackResults:
    """Run every attack of a table on a split, one after the other.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; already in evaluation mode.
        split: the images and their labels.
        epsilon: the attacks' radius in pixels of [0, 1].
        table: the attacks; one on survivors only gets the images that all attacks before it left correct.
        rng: of the attacks' random starts, on the images' device.

    Raises:
        ValueError: two attacks of the table have one name.
    """
    names = [row.name for row in table]
    if len(set(names)) < len(names):
        raise ValueError(f"names of attacks must be unique, got {', '.join(names)}")
    batches = [
        _run_on_batch(classifier, images, labels, epsilon, table, rng)
        for images, labels in split.batches(split.task.images_at_once(masking.IMAGES_AT_ONCE))
    ]
    return AttackResults(
        table=table,
        clean=torch.cat([batch.clean for batch in batches]),
        after={row.name: torch.cat([batch.after[row.name] for batch in batches]) for row in table},
        seconds={row.name: sum(batch.seconds[row.name] for batch in batches) for row in table},
    )


def _run_on_batch(
    classifier: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    table: Sequence[Attack],
    rng: torch.Generator,
) -> AttackResults:
    clean = is_right(classifier, images, labels)
    survivors, after, seconds = clean, {}, {}
    for row in table:
        started = time.monotonic()
        attacked = survivors if row.survivors_only else torch.ones_like(clean)
        if not attacks.drops_images(images):
            after[row.name] = correct = _run_on_all(classifier, images, labels, epsilon, row, rng) & attacked
            survivors = survivors & correct
            seconds[row.name] = time.monotonic() - started
            continue
        index = attacked.nonzero().squeeze(-1)
        correct = torch.zeros_like(clean)
        if len(index):
            correct[index] = _run_on_all(classifier, images[index], labels[index], epsilon, row, rng)
        after[row.name] = correct
        survivors = survivors & correct
        seconds[row.name] = time.monotonic() - started
    return AttackResults(table, clean, after, seconds)


def _run_on_all(
    classifier: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, row: Attack, rng: torch.Generator
) -> torch.Tensor:
    """Return which images are correct under an attack."""
    adversarial = row.run(classifier, images, labels, epsilon, rng=rng)
    # NaN is no pixel, and a network's answer to it says nothing of its robustness.
    adversarial = torch.where(adversarial.isfinite(), adversarial, images)
    return is_right(classifier, adversarial, labels)


@torch.no_grad()
def is_right(classifier: LogitsFn, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return which images ``(batch, C, H, W)`` a classifier predicts the label of, as booleans ``(batch,)``.

    An image with a logit that is not finite is wrong.
    """
    return losses.is_correct(classifier(images), labels)
