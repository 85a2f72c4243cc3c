"""A generator trained from scratch against a finished classifier, as an attack.

A classifier that learned against one generator may be robust to that generator only; a fresh one shows it.
"""

from __future__ import annotations

import torch
from torch import nn

from trainables.attacks.losses import LogitsFn
from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm
from trainables.config import GeneratorConfig
from trainables.data.tensors import Split
from trainables.training.generator import Adversary
from trainables.training.minibatches import Minibatches

_BATCH_SIZE = 128
# All inputs that a generator can have, and a loss whose gradient does not vanish where the classifier is confident.
_SETTINGS = GeneratorConfig(
    image_gradient="normalized",
    see_label=True,
    see_perturbation=True,
    random_start=True,
    recursions=3,
    recursion_step=0.6,
    loss="margin",
)


class FreshGenerator:
    """An attack on one classifier by a generator that is trained at its first use."""

    def __init__(self, classifier: nn.Module, training: Split, epochs: int, seed: int, norm: Norm = "linf") -> None:
        """Keep what the generator is trained with.

        Args:
            classifier: the one to attack; it stays as it is.
            training: the images that the generator learns from.
            epochs: how many passes over them it takes.
            seed: of its weights, its minibatches and its random starts.
            norm: of the ball in which it perturbs.
        """
        self._classifier = classifier
        self._training = training
        self._epochs = epochs
        self._seed = seed
        self._norm: Norm = norm
        self._adversaries: dict[float, Adversary] = {}  # by epsilon

    def __call__(
        self, logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *, rng: torch.Generator
    ) -> torch.Tensor:
        """Return adversarial images ``(batch, C, H, W)`` within epsilon; the first call for an epsilon trains."""
        if epsilon not in self._adversaries:
            self._adversaries[epsilon] = self._train(epsilon)
        return self._adversaries[epsilon].perturb(self._classifier, images, labels, epsilon, rng)

    def _train(self, epsilon: float) -> Adversary:
        device = self._training.device
        seed = seed_for(self._seed, "fresh generator")
        adversary = Adversary(_SETTINGS, self._training.task, seed, device, self._norm)
        rng = torch.Generator(device=device).manual_seed(seed)
        minibatches = Minibatches(self._training, _BATCH_SIZE, seed)
        for _ in range(self._epochs * minibatches.per_epoch):
            adversary.update(self._classifier, *minibatches.next_minibatch(), epsilon, rng)
        return adversary
