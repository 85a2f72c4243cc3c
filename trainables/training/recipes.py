"""Recipes without a generator: standard training, FGSM retraining, FGSM from a random start, PGD and TRADES."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch

from trainables.attacks import gradient
from trainables.attacks.buffers import buffers_kept
from trainables.attacks.losses import Epsilon, LogitsFn, Loss, cross_entropy
from trainables.config import AttackTrainingConfig, FgsmRandomStartConfig, FgsmRetrainingConfig, PgdConfig, TradesConfig
from trainables.config.schedules import value_at, warmed_up
from trainables.data.tensors import Dataset
from trainables.evaluation.attack_table import named_attack
from trainables.training.loop import TrainingLoop
from trainables.training.optimizers import clip_and_step


def mixed_loss(
    logits_fn: LogitsFn, images: torch.Tensor, adversarial: torch.Tensor, labels: torch.Tensor, clean_weight: float
) -> torch.Tensor:
    """Return clean_weight * loss(images) + (1 - clean_weight) * loss(adversarial), a scalar, from one forward pass.

    The loss is the mean cross-entropy. A term of weight 0 is not computed.

    Args:
        logits_fn: maps images to logits.
        images: the clean images ``(batch, C, H, W)``.
        adversarial: one or several perturbed copies of them ``(copies * batch, C, H, W)``: all images once, then all
            again.
        labels: the true labels ``(batch,)``.
        clean_weight: weight of the clean images, in [0, 1].
    """
    adversarial_labels = labels.repeat(len(adversarial) // len(images))
    if clean_weight == 0.0:
        return cross_entropy(logits_fn(adversarial), adversarial_labels).mean()
    if clean_weight == 1.0:
        return cross_entropy(logits_fn(images), labels).mean()
    losses = cross_entropy(logits_fn(torch.cat([images, adversarial])), torch.cat([labels, adversarial_labels]))
    clean, attacked = losses[: len(images)], losses[len(images) :]
    return clean_weight * clean.mean() + (1.0 - clean_weight) * attacked.mean()


class StandardLoop(TrainingLoop):
    """Training on clean images only."""

    def train_minibatch(self) -> None:
        """Train the classifier on one clean minibatch."""
        self.train_clean_minibatch()


def radius_at(
    config: FgsmRetrainingConfig | FgsmRandomStartConfig | PgdConfig | TradesConfig | AttackTrainingConfig,
    progress: float,
) -> float:
    """Return a training attack's radius in pixels of [0, 1]: its schedule's value, less during the warm-up.

    Args:
        config: of the run.
        progress: share of its compute that is spent.
    """
    settings = config.attack
    epsilon = value_at(settings.epsilon or config.evaluation.epsilon, progress)
    return warmed_up(epsilon, settings.warmup, progress)


class AdversarialLoop(TrainingLoop):
    """A recipe that attacks the present classifier on each minibatch and trains it on the result."""

    config: FgsmRetrainingConfig | FgsmRandomStartConfig | PgdConfig | TradesConfig

    @property
    def epsilon(self) -> float:
        """See `radius_at`."""
        return radius_at(self.config, self.progress)

    def train_minibatch(self) -> None:
        """Attack a minibatch and train the classifier on it."""
        images, labels = self.minibatches.next_minibatch()
        epsilon = self.updates.number("epsilon", self.epsilon)
        self.run_update("attacked", lambda images, labels: self.update(images, labels, epsilon), images, labels)

    @abstractmethod
    def update(self, images: torch.Tensor, labels: torch.Tensor, epsilon: Epsilon) -> torch.Tensor:
        """Attack images ``(batch, C, H, W)`` with labels ``(batch,)``, take one optimiser step, return the loss."""


class FgsmRetrainingLoop(AdversarialLoop):
    """Training on clean and FGSM images, by default with equal weight (Goodfellow et al. 2014)."""

    config: FgsmRetrainingConfig

    def update(self, images: torch.Tensor, labels: torch.Tensor, epsilon: Epsilon) -> torch.Tensor:
        """Train on clean and FGSM images, or on FGSM images alone where the clean ones have no weight."""
        if self.config.clean_weight:
            return self._update_on_both(images, labels, epsilon, self.config.clean_weight)
        with buffers_kept(self.classifier):
            adversarial = gradient.fgsm(self.classifier, images, labels, epsilon, norm=self.config.evaluation.norm)
        return self.descend(cross_entropy(self.classifier(adversarial), labels).mean())

    def _update_on_both(
        self, images: torch.Tensor, labels: torch.Tensor, epsilon: Epsilon, clean_weight: float
    ) -> torch.Tensor:
        """Use one backward pass of the clean loss for its part of the update and for the attack's gradient."""
        self.optimizer.zero_grad(set_to_none=True)
        clean = clean_weight * cross_entropy(self.classifier(images.requires_grad_()), labels).mean()
        clean.backward()
        norm = self.config.evaluation.norm
        adversarial = gradient.ascend(images.detach(), cast(torch.Tensor, images.grad), epsilon, norm)
        attacked = (1.0 - clean_weight) * cross_entropy(self.classifier(adversarial), labels).mean()
        attacked.backward()
        clip_and_step(self.optimizer, self.config.classifier.gradient_clip)
        return clean.detach() + attacked.detach()


class AttackTrainingLoop(TrainingLoop):
    """Training on clean images and those of any attack, which may be one of others."""

    config: AttackTrainingConfig

    def __init__(self, config: AttackTrainingConfig, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        settings = config.attack
        self._attack = named_attack(settings.name, config.code, settings.options, config.evaluation.norm)

    def train_minibatch(self) -> None:
        """Attack a minibatch, and train the classifier on it and on the clean images."""
        images, labels = self.minibatches.next_minibatch()
        # Not inside the update: what others write may do what cannot be recorded, and cost another amount each time.
        adversarial = self.meter.run("attack", len(labels), lambda: self._attacked(images, labels))
        clean_weight = self.config.clean_weight
        self.run_update(
            "attacked",
            lambda images, adversarial, labels: self.descend(
                mixed_loss(self.classifier, images, adversarial, labels, clean_weight)
            ),
            images,
            adversarial,
            labels,
        )

    def _attacked(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with buffers_kept(self.classifier):
            epsilon = radius_at(self.config, self.progress)
            return self._attack(self.classifier, images, labels, epsilon, rng=self.rng)


class PgdLoop(AdversarialLoop):
    """Training on adversarial images from a random start only.

    One step is the recipe `fgsm_random_start` (Wong et al. 2020), several are `pgd` (Madry et al. 2018).
    """

    config: FgsmRandomStartConfig | PgdConfig

    def update(self, images: torch.Tensor, labels: torch.Tensor, epsilon: Epsilon) -> torch.Tensor:
        """Train on adversarial images."""
        adversarial = _run_pgd(self, images, labels, epsilon, cross_entropy)
        return self.descend(cross_entropy(self.classifier(adversarial), labels).mean())


class TradesLoop(AdversarialLoop):
    """TRADES: training on clean images and beta * KL(clean, adversarial) (Zhang et al. 2019)."""

    config: TradesConfig

    def update(self, images: torch.Tensor, labels: torch.Tensor, epsilon: Epsilon) -> torch.Tensor:
        """Attack the divergence of the predictions, then train on the clean loss and the divergence."""
        with torch.no_grad(), buffers_kept(self.classifier):
            clean = self.classifier(images).log_softmax(-1)
        adversarial = _run_pgd(self, images, labels, epsilon, lambda logits, _: _divergence(clean, logits))
        logits, attacked = self.classifier(torch.cat([images, adversarial])).chunk(2)
        divergence = _divergence(logits.log_softmax(-1), attacked).mean()
        return self.descend(cross_entropy(logits, labels).mean() + self.config.beta * divergence)


def _run_pgd(
    loop: PgdLoop | TradesLoop, images: torch.Tensor, labels: torch.Tensor, epsilon: Epsilon, loss: Loss
) -> torch.Tensor:
    settings = loop.config.attack
    step_size = settings.reach * epsilon / settings.steps
    with buffers_kept(loop.classifier):
        return gradient.pgd(
            loop.classifier,
            images,
            labels,
            epsilon,
            steps=settings.steps,
            step_size=step_size,
            loss=loss,
            rng=loop.rng,
            clipped_start=settings.clipped_start,
            norm=loop.config.evaluation.norm,
        )


def _divergence(log_probabilities: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p, q) per example ``(...)``, p given as log probabilities and q as logits, both ``(..., classes)``."""
    return (log_probabilities.exp() * (log_probabilities - logits.log_softmax(-1))).sum(-1)
