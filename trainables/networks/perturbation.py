"""How a generator perturbs images: where it starts, what it sees, and its recursions on the ball and the box."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from trainables.attacks.gradient import input_gradient, project, uniform_start
from trainables.attacks.losses import cross_entropy
from trainables.config import GeneratorConfig
from trainables.networks.classifiers import NUM_CLASSES
from trainables.networks.generators import Generator

# Squares of anything smaller than this underflow, so a division by it would blow up without end.
SMALLEST = torch.finfo(torch.float32).tiny ** 0.5


class Drawn(NamedTuple):
    """Images ``(batch, 1, 28, 28)`` with labels ``(batch,)``, where the generator starts with each, and its noise."""

    images: torch.Tensor
    labels: torch.Tensor
    start: torch.Tensor
    noise: torch.Tensor


def draw(
    settings: GeneratorConfig,
    images: torch.Tensor,
    labels: torch.Tensor,
    bound: float,
    rng: torch.Generator,
    *,
    times: int = 1,
) -> Drawn:
    """Return images with a start and noise ``(batch, noise)``; each several times with the same start, if asked."""
    start = uniform_start(images, bound, rng) if settings.random_start else images
    if times > 1:
        images, labels, start = (torch.cat([each] * times) for each in (images, labels, start))
    # Of no noise nothing is drawn, and the stream stays where it is.
    noise = torch.randn((len(labels), settings.noise), generator=rng, device=labels.device)
    return Drawn(images, labels, start, noise)


def seen_gradient(
    classifier: nn.Module, images: torch.Tensor, labels: torch.Tensor, kind: str, target: int | None = None
) -> torch.Tensor:
    """Return the classifier's input gradient as the generator sees it: uphill is where the generator wants to go.

    Args:
        classifier: maps images ``(..., 1, 28, 28)`` to logits.
        images: where the gradient is taken.
        labels: the true ones ``(...)``.
        kind: ``raw``, ``sign``, or ``normalized`` to unit root mean square: the size of an image, however confident
            the classifier is.
        target: the label to force: downhill on its cross-entropy, instead of uphill on the true label's.
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


def see(
    settings: GeneratorConfig, classifier: nn.Module, current: torch.Tensor, drawn: Drawn, bound: float
) -> torch.Tensor:
    """Return what the generator sees of every pixel at the present images: ``(batch, channels, 28, 28)``."""
    channels = [current]
    if settings.image_gradient != "none":
        channels.append(seen_gradient(classifier, current, drawn.labels, settings.image_gradient, settings.target))
    if settings.see_perturbation:
        # Of a bound that has not begun to grow, a perturbation of zero.
        channels.append((current - drawn.images) / max(bound, SMALLEST))
    return torch.cat(channels, dim=-3) if len(channels) > 1 else current


def see_numbers(settings: GeneratorConfig, drawn: Drawn) -> tuple[torch.Tensor, ...]:
    """Return what the generator sees of every whole image: nothing, or one tensor ``(batch, numbers)``."""
    numbers = [drawn.noise] if settings.noise else []
    if settings.see_label:
        numbers.append(functional.one_hot(drawn.labels, NUM_CLASSES).to(drawn.images.dtype))
    return (torch.cat(numbers, dim=-1),) if numbers else ()


def perturbed(
    settings: GeneratorConfig, generator: Generator, classifier: nn.Module, drawn: Drawn, bound: float
) -> torch.Tensor:
    """Return the images after the last recursion, within ``bound`` of what they were and in [0, 1].

    The graph leads through the last recursion alone: through all of them, or with a loss at each, the classifier came
    out no better, and an update cost more with every recursion.
    """
    step = bound if settings.recursions == 1 else settings.recursion_step * bound
    numbers, current = see_numbers(settings, drawn), drawn.start
    for recursion in range(1, settings.recursions + 1):
        seen = see(settings, classifier, current, drawn, bound)
        with torch.set_grad_enabled(torch.is_grad_enabled() and recursion == settings.recursions):
            current = project(current + step * generator(seen, *numbers), drawn.images, bound)
    return current
