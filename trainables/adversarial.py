"""Adversarial training on attacks made anew for every minibatch: FGSM retraining (Goodfellow et al. 2014)."""

from __future__ import annotations

from typing import cast

import torch

from trainables import attacks
from trainables.attacks import LogitsFn, cross_entropy
from trainables.config import FgsmRetrainingConfig
from trainables.data import Dataset
from trainables.loop import TrainingLoop


def mixed_loss(
    logits_fn: LogitsFn, images: torch.Tensor, adversarial: torch.Tensor, labels: torch.Tensor, clean_weight: float
) -> torch.Tensor:
    """Return clean_weight * loss(images) + (1 - clean_weight) * loss(adversarial), in one pass over both.

    A side of weight zero is left out, so it costs nothing.
    """
    if clean_weight == 0.0:
        return cross_entropy(logits_fn(adversarial), labels).mean()
    if clean_weight == 1.0:
        return cross_entropy(logits_fn(images), labels).mean()
    losses = cross_entropy(logits_fn(torch.cat([images, adversarial])), torch.cat([labels, labels]))
    clean, attacked = losses.chunk(2)
    return clean_weight * clean.mean() + (1.0 - clean_weight) * attacked.mean()


class FgsmRetrainingLoop(TrainingLoop):
    """Half clean, half FGSM by default."""

    def __init__(self, config: FgsmRetrainingConfig, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self._clean_weight = config.clean_weight
        self._epsilon = config.attack.epsilon or config.evaluation.epsilon

    def train_minibatch(self) -> None:
        """Make FGSM images of one minibatch and train the classifier on both."""
        images, labels = self.minibatches.draw()
        update = self._update_on_both if self._clean_weight else self._update_on_attacked
        self.meter.run("fgsm", len(labels), lambda: update(images, labels))

    def _update_on_attacked(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        adversarial = attacks.fgsm(self.classifier, images, labels, self._epsilon)
        self.update_classifier(cross_entropy(self.classifier(adversarial), labels).mean())

    def _update_on_both(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Let one backward pass of the clean loss give its share of the update and the direction of the attack."""
        self.optimizer.zero_grad(set_to_none=True)
        clean = self._clean_weight * cross_entropy(self.classifier(images.requires_grad_()), labels).mean()
        clean.backward()
        adversarial = attacks.sign_step(images.detach(), cast(torch.Tensor, images.grad), self._epsilon)
        attacked = (1.0 - self._clean_weight) * cross_entropy(self.classifier(adversarial), labels).mean()
        attacked.backward()
        self.optimizer.step()
        self.classifier_loss.add(clean.detach() + attacked.detach())
