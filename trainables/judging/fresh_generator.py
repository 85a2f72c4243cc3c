"""A generator trained afresh against a finished classifier: has training withstood generators, or only its own?"""

from __future__ import annotations

import torch
from torch import nn

from trainables.attacks.losses import LogitsFn
from trainables.config import GeneratorConfig
from trainables.data.tensors import Split
from trainables.seeds import seed_for
from trainables.training.generator import Adversary
from trainables.training.minibatches import Minibatches

_BATCH_SIZE = 128
# All that a generator can see, and a loss that does not vanish where the classifier is confident.
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
    """An attack on one classifier that first learns on training images."""

    def __init__(self, classifier: nn.Module, training: Split, epochs: int, seed: int) -> None:
        self._classifier = classifier
        self._training = training
        self._epochs = epochs
        self._seed = seed
        self._learnt: dict[float, Adversary] = {}  # by epsilon

    def __call__(
        self, logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *, rng: torch.Generator
    ) -> torch.Tensor:
        """Return perturbed images ``(batch, 1, 28, 28)``; the first call at an epsilon trains the generator."""
        if epsilon not in self._learnt:
            self._learnt[epsilon] = self._learn(epsilon)
        return self._learnt[epsilon].perturb(self._classifier, images, labels, epsilon, rng)

    def _learn(self, epsilon: float) -> Adversary:
        device = self._training.images.device
        seed = seed_for(self._seed, "fresh generator")
        adversary = Adversary(_SETTINGS, seed, device)
        rng = torch.Generator(device=device).manual_seed(seed)
        minibatches = Minibatches(self._training, _BATCH_SIZE, seed)
        for _ in range(self._epochs * minibatches.per_epoch):
            adversary.update(self._classifier, *minibatches.draw(), epsilon, rng)
        return adversary
