"""The recipes without a generator: standard, FGSM retraining, random start, PGD and TRADES."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch

from trainables.attacks import gradient as attacks
from trainables.attacks.losses import LogitsFn, Loss, cross_entropy
from trainables.config import FgsmRandomStartConfig, FgsmRetrainingConfig, PgdConfig, TradesConfig
from trainables.schedules import value_at, warmed_up
from trainables.training.loop import TrainingLoop
from trainables.training.optimizers import clip_and_step


def mixed_loss(
    logits_fn: LogitsFn, images: torch.Tensor, adversarial: torch.Tensor, labels: torch.Tensor, clean_weight: float
) -> torch.Tensor:
    """Return clean_weight * loss(images) + (1 - clean_weight) * loss(adversarial), in one pass over both.

    There may be several times as many adversarial images, all of the first, then all once more. A side of weight zero
    is left out, so it costs nothing.
    """
    of_adversarial = labels.repeat(len(adversarial) // len(images))
    if clean_weight == 0.0:
        return cross_entropy(logits_fn(adversarial), of_adversarial).mean()
    if clean_weight == 1.0:
        return cross_entropy(logits_fn(images), labels).mean()
    losses = cross_entropy(logits_fn(torch.cat([images, adversarial])), torch.cat([labels, of_adversarial]))
    clean, attacked = losses[: len(images)], losses[len(images) :]
    return clean_weight * clean.mean() + (1.0 - clean_weight) * attacked.mean()


class AttackedLoop(TrainingLoop):
    """A recipe that learns from attacks on the present net, with an epsilon that may change."""

    config: FgsmRetrainingConfig | FgsmRandomStartConfig | PgdConfig | TradesConfig

    @property
    def epsilon(self) -> float:
        """The radius of the attack now, in pixels of [0, 1]."""
        settings = self.config.attack
        epsilon = value_at(settings.epsilon or self.config.evaluation.epsilon, self.progress)
        return warmed_up(epsilon, settings.warmup, self.progress)

    def train_minibatch(self) -> None:
        """Attack one minibatch and train the classifier on what comes of it."""
        images, labels = self.minibatches.draw()
        self.meter.run("attacked", len(labels), lambda: self.update(images, labels))

    @abstractmethod
    def update(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Attack images ``(batch, 1, 28, 28)`` and take one optimiser step."""


class FgsmRetrainingLoop(AttackedLoop):
    """Half clean, half FGSM by default (Goodfellow et al. 2014)."""

    config: FgsmRetrainingConfig

    def update(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Train on both sides, or on the attacked one alone if the clean one has no weight."""
        if self.config.clean_weight:
            self._update_on_both(images, labels, self.config.clean_weight)
        else:
            adversarial = attacks.fgsm(self.classifier, images, labels, self.epsilon)
            self.update_classifier(cross_entropy(self.classifier(adversarial), labels).mean())

    def _update_on_both(self, images: torch.Tensor, labels: torch.Tensor, clean_weight: float) -> None:
        """Let one backward pass of the clean loss give its share of the update and the direction of the attack."""
        self.optimizer.zero_grad(set_to_none=True)
        clean = clean_weight * cross_entropy(self.classifier(images.requires_grad_()), labels).mean()
        clean.backward()
        adversarial = attacks.sign_step(images.detach(), cast(torch.Tensor, images.grad), self.epsilon)
        attacked = (1.0 - clean_weight) * cross_entropy(self.classifier(adversarial), labels).mean()
        attacked.backward()
        clip_and_step(self.optimizer, self.config.classifier.gradient_clip)
        self.classifier_loss.add(clean.detach() + attacked.detach())


class PgdLoop(AttackedLoop):
    """Adversarial images alone, by steps from a random start: one for `fgsm_random_start`, several for `pgd`."""

    config: FgsmRandomStartConfig | PgdConfig

    def update(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Train on the attacked images."""
        adversarial = _iterate(self, images, labels, cross_entropy)
        self.update_classifier(cross_entropy(self.classifier(adversarial), labels).mean())


class TradesLoop(AttackedLoop):
    """Clean images, and beta times how far an attack can move what the net says of them (Zhang et al. 2019)."""

    config: TradesConfig

    def update(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Attack the divergence, then train on clean loss and divergence."""
        with torch.no_grad():
            said = self.classifier(images).log_softmax(-1)
        adversarial = _iterate(self, images, labels, lambda logits, _: _divergence(said, logits))
        logits, attacked = self.classifier(torch.cat([images, adversarial])).chunk(2)
        divergence = _divergence(logits.log_softmax(-1), attacked).mean()
        self.update_classifier(cross_entropy(logits, labels).mean() + self.config.beta * divergence)


def _iterate(loop: PgdLoop | TradesLoop, images: torch.Tensor, labels: torch.Tensor, loss: Loss) -> torch.Tensor:
    settings, epsilon = loop.config.attack, loop.epsilon
    step_size = settings.reach * epsilon / settings.steps
    return attacks.pgd(
        loop.classifier,
        images,
        labels,
        epsilon,
        steps=settings.steps,
        step_size=step_size,
        loss=loss,
        rng=loop.rng,
        clipped_start=settings.clipped_start,
    )


def _divergence(log_probabilities: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p, q) per example: p as log probabilities, q as logits, both ``(..., classes)``."""
    return (log_probabilities.exp() * (log_probabilities - logits.log_softmax(-1))).sum(-1)


class StandardLoop(TrainingLoop):
    """One update on clean images per minibatch."""

    def train_minibatch(self) -> None:
        """Train the classifier on one clean minibatch."""
        self.train_clean_minibatch()
