"""How a generator perturbs images: what its network receives as input, and its projected recursions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from trainables.attacks.gradient import input_gradient, project, uniform_start
from trainables.attacks.losses import Epsilon, cross_entropy
from trainables.attacks.norms import unit
from trainables.common.tasks import Norm
from trainables.config import GeneratorConfig
from trainables.networks.generators import Generator

SMALLEST = torch.finfo(torch.float32).tiny ** 0.5
"""Divisors are at least this: the square of a smaller number underflows."""


class GeneratorInputs(NamedTuple):
    """A minibatch as a generator receives it.

    Attributes:
        images: ``(batch, C, H, W)`` in [0, 1], the centres of the balls.
        labels: the true labels ``(batch,)``.
        start: where the perturbation starts: the images, or a random point within the bound of each.
        noise: standard normal numbers ``(batch, noise)``; there may be none.
    """

    images: torch.Tensor
    labels: torch.Tensor
    start: torch.Tensor
    noise: torch.Tensor


def sample_inputs(
    settings: GeneratorConfig,
    images: torch.Tensor,
    labels: torch.Tensor,
    bound: Epsilon,
    rng: torch.Generator,
    *,
    times: int = 1,
    norm: Norm = "linf",
) -> GeneratorInputs:
    """Draw the random start and the noise of each image.

    Args:
        settings: whether the start is random, and how much noise there is.
        images: ``(batch, C, H, W)`` in [0, 1].
        labels: ``(batch,)``.
        bound: the largest perturbation, in pixels of [0, 1].
        rng: draws the numbers, on the images' device.
        times: repeat the minibatch this many times, with the same start and other noise each time.
        norm: of the ball around each image.

    Returns:
        Inputs of ``times * batch`` images: all of them once, then all again.
    """
    start = uniform_start(images, bound, rng, norm=norm) if settings.random_start else images
    if times > 1:
        images, labels, start = (torch.cat([tensor] * times) for tensor in (images, labels, start))
    # A generator without noise draws nothing, so the state of the random numbers stays what it is.
    noise = torch.randn((len(labels), settings.noise), generator=rng, device=labels.device)
    return GeneratorInputs(images, labels, start, noise)


def gradient_channel(
    classifier: nn.Module, images: torch.Tensor, labels: torch.Tensor, kind: str, target: int | None = None
) -> torch.Tensor:
    """Return the classifier's input gradient as an input channel of the generator, shaped like the images.

    It points where the generator should move the images: up the cross-entropy of the true label or, with a target, down
    the cross-entropy of the target.

    Args:
        classifier: maps images to logits.
        images: ``(..., C, H, W)``, where the gradient is taken.
        labels: the true labels ``(...)``.
        kind: ``raw``; ``sign``; or ``normalized`` to a root mean square of 1 per image, so that it is of the size of an
            image however confident the classifier is.
        target: the label that the generator should produce; None to leave the true one.
    """
    if target is None:
        gradient = input_gradient(classifier, images, labels, cross_entropy)
    else:
        gradient = -input_gradient(classifier, images, torch.full_like(labels, target), cross_entropy)
    if kind == "raw":
        return gradient
    if kind == "sign":
        return gradient.sign()
    return gradient / gradient.square().mean((-3, -2, -1), keepdim=True).sqrt().clamp_min(SMALLEST)


def input_channels(
    settings: GeneratorConfig,
    classifier: nn.Module,
    current: torch.Tensor,
    inputs: GeneratorInputs,
    bound: Epsilon,
    norm: Norm = "linf",
) -> torch.Tensor:
    """Return the inputs of the generator that have one value per pixel: ``(batch, C, H, W)``.

    They are the present images and, as the settings say, the classifier's gradient and the perturbation so far.

    Args:
        settings: which channels there are.
        classifier: what the gradient is taken of.
        current: the images as perturbed so far ``(batch, C, H, W)``.
        inputs: the minibatch.
        bound: the largest perturbation, in pixels of [0, 1].
        norm: of the ball.
    """
    channels = [current]
    if settings.image_gradient != "none":
        channels.append(gradient_channel(classifier, current, inputs.labels, settings.image_gradient, settings.target))
    if settings.see_perturbation:
        # While the bound is still 0, so is the perturbation: the quotient is 0.
        divisor = bound.clamp_min(SMALLEST) if isinstance(bound, torch.Tensor) else max(bound, SMALLEST)
        perturbation = (current - inputs.images) / divisor
        if norm == "l2":  # of the size that a pixel has where all change alike
            perturbation = perturbation * math.prod(current.shape[-3:]) ** 0.5
        channels.append(perturbation)
    return torch.cat(channels, dim=-3) if len(channels) > 1 else current


def input_vector(settings: GeneratorConfig, inputs: GeneratorInputs, num_classes: int) -> tuple[torch.Tensor, ...]:
    """Return the inputs of the generator that are one vector per image: noise and one-hot label.

    Returns:
        A tuple of one tensor ``(batch, numbers)``, or an empty one where the settings ask for neither.
    """
    numbers = [inputs.noise] if settings.noise else []
    if settings.see_label:
        numbers.append(functional.one_hot(inputs.labels, num_classes).to(inputs.images.dtype))
    return (torch.cat(numbers, dim=-1),) if numbers else ()


def _direction(settings: GeneratorConfig, pre_activation: torch.Tensor) -> torch.Tensor:
    """Return the output of the generator: in [-1, 1], or in [0, 1] or [-1, 0] if its perturbations have one sign."""
    output = torch.tanh(pre_activation)
    if settings.perturbation_sign == "both":
        return output
    return (output + 1) / 2 if settings.perturbation_sign == "positive" else (output - 1) / 2


class Perturbed(NamedTuple):
    """What a generator made of a minibatch.

    Attributes:
        images: the perturbed images ``(batch, C, H, W)``.
        pre_activation: the output of its last recursion before the tanh, shaped like the images.
    """

    images: torch.Tensor
    pre_activation: torch.Tensor


def perturb_images(
    settings: GeneratorConfig,
    generator: Generator,
    classifier: nn.Module,
    inputs: GeneratorInputs,
    bound: Epsilon,
    norm: Norm = "linf",
) -> Perturbed:
    """Return the images after the generator's last recursion, within the bound of the originals and in [0, 1].

    Each recursion adds the generator's output, scaled to its step, and projects. Gradients flow through the last
    recursion only: through all of them, or with a loss at each, the classifier became no more robust, and an update
    cost more with every recursion.

    Args:
        settings: the number and size of the recursions, and what the generator receives.
        generator: the network.
        classifier: what the generator's gradient channel is taken of.
        inputs: the minibatch, see `sample_inputs`.
        bound: the largest perturbation, in pixels of [0, 1].
        norm: of the ball; in L2 the generator's output is a direction, along which a step has its whole length.
    """
    step = bound if settings.recursions == 1 else settings.recursion_step * bound
    vector, current, pre_activation = input_vector(settings, inputs, generator.num_classes), inputs.start, inputs.start
    for recursion in range(1, settings.recursions + 1):
        channels = input_channels(settings, classifier, current, inputs, bound, norm)
        with torch.set_grad_enabled(torch.is_grad_enabled() and recursion == settings.recursions):
            pre_activation = generator.pre_activation(channels, *vector)
            direction = _direction(settings, pre_activation)
            if norm == "l2":
                direction = unit(direction)
            current = project(current + step * direction, inputs.images, bound, norm)
    return Perturbed(current, pre_activation)
