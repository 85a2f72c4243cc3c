"""The adversary of the GAN loop: a generator with its optimiser, how it is trained and how it perturbs images."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from trainables.attacks.buffers import buffers_kept
from trainables.attacks.losses import Epsilon
from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm, Task
from trainables.config import GeneratorConfig
from trainables.config.schedules import value_at
from trainables.networks.generator_losses import (
    GENERATOR_LOSSES,
    TARGETED_LOSSES,
    correct_probability,
    missed_target_probability,
)
from trainables.networks.generators import Generator, build_generator
from trainables.networks.perturbation import SMALLEST, perturb_images, sample_inputs
from trainables.training.optimizers import build_optimizer, descend, set_learning_rate, state_of

RESPONSIVE = 2.0
"""Outputs before the tanh up to this size are not penalised: the tanh still has 7 % of its greatest slope there."""


class Update(NamedTuple):
    """What one training step of a generator measured, before the step.

    Attributes:
        loss: what it minimised, a scalar.
        failure_probability: the mean probability that the classifier gives to the generator's failure, a scalar in
            [0, 1], whatever the loss: p(correct) or, with a target, 1 - p(target). Adaptive ratios are steered by it.
        perturbed: the images that the generator learned from, perturbed; those that the goal does not perturb are not.
    """

    loss: torch.Tensor
    failure_probability: torch.Tensor
    perturbed: torch.Tensor


class Adversary:
    """A generator, its optimiser and copies of its earlier states.

    Images are ``(batch, C, H, W)`` in [0, 1], labels ``(batch,)``, bounds in pixels of [0, 1]. Classifiers that are
    passed in stay as they are: their mode, their parameters, and the gradients that these have.
    """

    def __init__(
        self,
        settings: GeneratorConfig,
        task: Task,
        seed: int,
        device: torch.device | str = "cpu",
        norm: Norm = "linf",
    ) -> None:
        """Build a generator with fresh weights.

        Args:
            settings: its network, its perturbations, its goal and its training.
            task: the shape of the images and the classes.
            seed: of its weights.
            device: where it is.
            norm: of the ball in which it perturbs.
        """
        self.settings = settings
        self.norm: Norm = norm
        self.task = task
        self._seed = seed
        self._device = device
        self.generator, self.optimizer = self._build()
        self.pool: list[Generator] = []

    def _build(self, *purpose: int) -> tuple[Generator, torch.optim.Optimizer]:
        settings = self.settings
        generator = build_generator(settings, self.task, seed_for(self._seed, "generator", *purpose)).to(self._device)
        rate = value_at(settings.learning_rate, 0.0)
        return generator, build_optimizer(generator.parameters(), settings.optimizer, rate)

    def with_generator(self, generator: nn.Module) -> Adversary:
        """Return this adversary with another network of the same structure, to perturb images with."""
        other = copy.copy(self)
        other.generator = cast(Generator, generator)
        return other

    def set_learning_rate(self, progress: float) -> None:
        """Set the optimiser's learning rate to that of a progress in [0, 1]."""
        set_learning_rate(self.optimizer, value_at(self.settings.learning_rate, progress))

    def num_perturbed(self, labels: torch.Tensor) -> int:
        """Return how many images of these labels the goal perturbs: all, or those of the source label."""
        return len(self._source_index(labels)) if self.settings.goal == "source_to_target" else len(labels)

    def _source_index(self, labels: torch.Tensor) -> torch.Tensor:
        return (labels == cast(int, self.settings.source)).nonzero().squeeze(-1)

    @torch.no_grad()
    def perturb(
        self,
        classifier: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        bound: Epsilon,
        rng: torch.Generator,
        *,
        from_pool: bool = False,
    ) -> torch.Tensor:
        """Return adversarial images, within the bound of the images and in [0, 1].

        Images that the goal does not perturb are returned unchanged.

        Args:
            classifier: what to fool.
            images: the images.
            labels: their true labels.
            bound: the largest perturbation.
            rng: draws starts, noise and the choice from the pool.
            from_pool: whether to use a random one of the present generator and its kept copies.
        """
        generator = self._choose_generator(rng) if from_pool and self.pool else self.generator
        settings = self.settings
        if settings.goal != "source_to_target":
            inputs = sample_inputs(settings, images, labels, bound, rng, norm=self.norm)
            with buffers_kept(classifier):
                return perturb_images(settings, generator, classifier, inputs, bound, self.norm).images
        index = self._source_index(labels)
        if not len(index):
            return images
        inputs = sample_inputs(settings, images[index], labels[index], bound, rng, norm=self.norm)
        with buffers_kept(classifier):
            perturbed = perturb_images(settings, generator, classifier, inputs, bound, self.norm).images
        return images.index_copy(0, index, perturbed)

    @torch.no_grad()
    def pre_activations(
        self, classifier: nn.Module, images: torch.Tensor, labels: torch.Tensor, bound: Epsilon, rng: torch.Generator
    ) -> torch.Tensor:
        """Return the outputs before the tanh, of the last recursion, for those of the images that the goal perturbs.

        Args:
            classifier: what to fool.
            images: the images.
            labels: their true labels.
            bound: the largest perturbation.
            rng: draws starts and noise.
        """
        settings = self.settings
        if settings.goal == "source_to_target":
            index = self._source_index(labels)
            images, labels = images[index], labels[index]
        if not len(labels):
            return images
        inputs = sample_inputs(settings, images, labels, bound, rng, norm=self.norm)
        with buffers_kept(classifier):
            return perturb_images(settings, self.generator, classifier, inputs, bound, self.norm).pre_activation

    def update(
        self, classifier: nn.Module, images: torch.Tensor, labels: torch.Tensor, bound: Epsilon, rng: torch.Generator
    ) -> Update | None:
        """Train the generator by one step against a classifier.

        Args:
            classifier: what to fool.
            images: the images to learn from.
            labels: their true labels.
            bound: the largest perturbation.
            rng: draws starts and noise.

        Returns:
            What was measured; None if the goal perturbs none of the images, and nothing is learned.
        """
        settings, index, whole = self.settings, None, images
        if settings.goal == "source_to_target":
            index = self._source_index(labels)
            images, labels = images[index], labels[index]
        if not len(labels):
            return None
        inputs = sample_inputs(
            settings, images, labels, bound, rng, times=2 if settings.diversity else 1, norm=self.norm
        )
        with _frozen(classifier), buffers_kept(classifier):
            adversarial, pre_activation = perturb_images(settings, self.generator, classifier, inputs, bound, self.norm)
            logits = classifier(adversarial)
        loss, failure_probability = self._losses(logits, inputs.labels)
        if settings.diversity:
            loss = loss - settings.diversity * diversity_term(adversarial, inputs.noise)
        if settings.saturation_penalty:
            loss = loss + settings.saturation_penalty * saturation_term(pre_activation)
        if loss.requires_grad:  # it does not where no gradient passes through the classifier, as behind a threshold
            descend(self.optimizer, loss, settings.gradient_clip)
        perturbed = adversarial.detach()[: len(images)]  # the first draw of noise, if there are two
        whole = perturbed if index is None else whole.index_copy(0, index, perturbed)
        return Update(loss.detach(), failure_probability, whole)

    def _losses(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss to minimise, and the mean failure probability."""
        name, target = self.settings.loss, self.settings.target
        if target is None:
            return GENERATOR_LOSSES[name](logits, labels).mean(), correct_probability(logits.detach(), labels).mean()
        targets = torch.full_like(labels, target)
        missed = missed_target_probability(logits.detach(), targets)
        return TARGETED_LOSSES[name](logits, targets).mean(), missed.mean()

    def _choose_generator(self, rng: torch.Generator) -> Generator:
        choice = int(torch.randint(1 + len(self.pool), (), generator=rng, device=rng.device))
        return (self.generator, *self.pool)[choice]

    def end_cycle(self, cycle: int) -> bool:
        """Keep a copy of the generator in the pool, or replace it by a fresh one, when that is due.

        Args:
            cycle: the number of cycles that have ended, this one included.

        Returns:
            Whether the generator and its optimiser are other ones now.
        """
        settings = self.settings
        if settings.pool and cycle % settings.pool_every == 0:
            self.pool = [*self.pool, copy.deepcopy(self.generator)][-settings.pool :]
        if not settings.reinitialise_every or cycle % settings.reinitialise_every:
            return False
        self.generator, self.optimizer = self._build(cycle)
        return True

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint; see `restore`."""
        return {
            "generator": self.generator.state_dict(),
            "optimizer": state_of(self.optimizer),
            "pool": [past.state_dict() for past in self.pool],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pool = [copy.deepcopy(self.generator) for _ in state["pool"]]
        for past, weights in zip(self.pool, state["pool"], strict=True):
            past.load_state_dict(weights)


def diversity_term(adversarial: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return how far two draws of noise move an image apart, a scalar to maximise (Mao et al. 2019, mode seeking).

    It is the mean of |difference of the images| / |difference of the noise|, both mean absolute differences, per pixel
    and per number of noise. A generator that ignores its noise has 0.

    Args:
        adversarial: ``(2 * batch, C, H, W)``: all images under one draw, then all under another.
        noise: the draws ``(2 * batch, noise)``.
    """
    (first, second), (first_noise, second_noise) = adversarial.chunk(2), noise.chunk(2)
    image_distance = (first - second).abs().flatten(1).mean(1)
    noise_distance = (first_noise - second_noise).abs().mean(1)
    return (image_distance / noise_distance.clamp_min(SMALLEST)).mean()


def saturation_term(pre_activation: torch.Tensor) -> torch.Tensor:
    """Return how far outputs before the tanh are in its flat parts, a scalar to minimise.

    It is the mean of max(|output| - 2, 0) ** 2. Where a tanh is flat, a generator learns no more. While the bound is
    small nothing else keeps it from going there: the best perturbation is then the sign of the gradient, and an
    optimiser like Adam goes on with steps of full length however small the loss's gradient is.
    """
    return (pre_activation.abs() - RESPONSIVE).clamp_min(0.0).square().mean()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Keep gradients from a model's parameters inside the context."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
