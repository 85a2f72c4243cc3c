"""Attacks in the L-infinity ball and the box [0, 1], as pure functions of ``(logits_fn, images, labels, ...)``.

Images are ``(..., 1, 28, 28)`` floats in [0, 1], labels ``(...)`` integers; epsilon and step sizes are in pixels of
[0, 1], numbers or tensors that broadcast against the images. Nothing global is read or changed: parameters get no
gradients, a model keeps its mode, randomness comes from the generator that is passed. With ``targets`` an attack forces
those labels instead of leaving the true one, and images that have the target label already are left alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from trainables.attacks.losses import Epsilon, LogitsFn, Loss, cross_entropy

StillCorrect = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From logits and their images' positions in the batch to which of these images no attack has fooled yet."""

REACH = 2.5
"""How far all steps of an evaluation's PGD go together, in epsilons: the far side of the ball is two away.

The 40 steps of 0.01 that Madry et al. 2018 train with go 1.33: they left 6 to 13 points more standing on five
classifiers of a GAN loop."""


def input_gradient(logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return d loss / d images per example, shaped like the images."""
    return forward_and_gradient(logits_fn, images, labels, loss)[2]


def forward_and_gradient(
    logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits, losses and d loss / d images per example, from one pass forward and back."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = logits_fn(leaf)
        losses = loss(logits, labels)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return logits.detach(), losses.detach(), gradient


def bounds(images: torch.Tensor, epsilon: Epsilon) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lowest and the highest value of every pixel in the epsilon ball and [0, 1]."""
    return (images - epsilon).clamp_min(0.0), (images + epsilon).clamp_max(1.0)


def project(adversarial: torch.Tensor, images: torch.Tensor, epsilon: Epsilon) -> torch.Tensor:
    """Return the nearest point of the epsilon ball around the images and of [0, 1]."""
    return torch.minimum(torch.maximum(adversarial, images - epsilon), images + epsilon).clamp(0.0, 1.0)


def uniform_start(
    images: torch.Tensor, epsilon: Epsilon, rng: torch.Generator, *, clipped: bool = True
) -> torch.Tensor:
    """Return a uniformly random point of the ball around each image, clipped to [0, 1] or not."""
    noise = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    start = images + (2.0 * noise - 1.0) * epsilon
    return start.clamp(0.0, 1.0) if clipped else start


def sign_step(images: torch.Tensor, gradient: torch.Tensor, epsilon: Epsilon) -> torch.Tensor:
    """Return clip(images + epsilon * sign(gradient), 0, 1)."""
    return (images + epsilon * gradient.sign()).clamp(0.0, 1.0)


def fgsm(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return clip(images + epsilon * sign(gradient), 0, 1) (Goodfellow et al. 2014)."""
    aim, direction = aim_of(labels, targets)
    gradient = input_gradient(logits_fn, images, aim, cross_entropy)
    moved = sign_step(images, direction * gradient, epsilon)
    return _leave_alone(moved, images, labels, targets)


def r_fgsm(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    rng: torch.Generator,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a random sign step of epsilon / 2, then one FGSM step of the rest (Tramer et al. 2018)."""
    signs = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype).sign()
    start = (images + 0.5 * epsilon * signs).clamp(0.0, 1.0)
    aim, direction = aim_of(labels, targets)
    gradient = input_gradient(logits_fn, start, aim, cross_entropy)
    moved = project(start + direction * 0.5 * epsilon * gradient.sign(), images, epsilon)
    return _leave_alone(moved, images, labels, targets)


def pgd(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    step_size: Epsilon,
    loss: Loss = cross_entropy,
    rng: torch.Generator | None = None,
    clipped_start: bool = True,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the last of ``steps`` projected sign steps, from a random start given ``rng`` (Madry et al. 2018).

    The start may lie outside [0, 1] unless it is clipped; what is returned never does.
    """
    aim, direction = aim_of(labels, targets)
    adversarial = images if rng is None else uniform_start(images, epsilon, rng, clipped=clipped_start)
    for _ in range(steps):
        gradient = input_gradient(logits_fn, adversarial, aim, loss)
        adversarial = project(adversarial + direction * step_size * gradient.sign(), images, epsilon)
    return _leave_alone(adversarial, images, labels, targets)


def mi_fgsm(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    step_size: Epsilon | None = None,
    decay: float = 1.0,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the last of ``steps`` sign steps along the decayed sum of the gradients so far (Dong et al. 2018).

    Each gradient is first divided by its mean absolute value. Without a ``step_size`` all steps together go `REACH`
    epsilons.
    """
    aim, direction = aim_of(labels, targets)
    step = REACH * epsilon / steps if step_size is None else step_size
    adversarial, momentum = images, torch.zeros_like(images)
    for _ in range(steps):
        gradient = input_gradient(logits_fn, adversarial, aim, cross_entropy)
        size = gradient.abs().mean((-3, -2, -1), keepdim=True)
        momentum = decay * momentum + gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
        adversarial = project(adversarial + direction * step * momentum.sign(), images, epsilon)
    return _leave_alone(adversarial, images, labels, targets)


def pgd_survivors(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    *,
    steps: int,
    step_size: float | None = None,
    loss: Loss = cross_entropy,
    restarts: int = 1,
    rng: torch.Generator | None = None,
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return PGD's images, each kept as it was when it first succeeded: only survivors are attacked further.

    The same search as `pgd`, judged after every step, so it finds at least what the last step would; the work shrinks
    with every image that falls. Images ``(batch, 1, 28, 28)``. Without a ``step_size`` all steps together go
    `REACH` epsilons. Without ``rng`` there is no random start and restarts do nothing new. An image that never falls is
    returned as it stood after the last step.
    """
    size = REACH * epsilon / max(steps, 1) if step_size is None else step_size
    aim, direction = aim_of(labels, targets)
    is_correct = still_correct(labels, targets)
    result = images.clone()
    alive = torch.arange(len(images), device=images.device)
    if targets is not None:
        alive = alive[labels != targets]
    ends = bounds(images, epsilon)
    for _ in range(restarts):
        start = images if rng is None else uniform_start(images, epsilon, rng)
        current, low, high = (some[alive] for some in (start, *ends))
        for step in range(steps + 1):
            if not len(alive):
                break
            logits, _, gradient = forward_and_gradient(logits_fn, current, aim[alive], loss)
            still = is_correct(logits, alive)
            if not still.all():
                result[alive[~still]] = current[~still]
                alive, current, low, high, gradient = (some[still] for some in (alive, current, low, high, gradient))
            if step < steps:
                current = gradient.sign().mul_(direction * size).add_(current).clamp_(low, high)
        result[alive] = current
    return result


def aim_of(labels: torch.Tensor, targets: torch.Tensor | None) -> tuple[torch.Tensor, float]:
    """Return the labels in the loss, and whether to climb (away from the true label) or descend (towards a target)."""
    return (labels, 1.0) if targets is None else (targets, -1.0)


def still_correct(labels: torch.Tensor, targets: torch.Tensor | None) -> StillCorrect:
    """Return the function that tells which images of a batch an attack has not fooled yet.

    Args:
        labels: the true ones ``(batch,)``.
        targets: the labels that the attack forces, ``(batch,)``; None for an attack that any wrong label satisfies.

    Returns:
        A function of logits ``(n, classes)`` and the images' positions in the batch ``(n,)``. It is True where the
        true label is predicted or, with targets, where the target is not predicted yet; an image whose true label is
        its target counts as fooled from the beginning.
    """
    if targets is None:
        return lambda logits, index: logits.argmax(-1) == labels[index]
    return lambda logits, index: (logits.argmax(-1) != targets[index]) & (labels[index] != targets[index])


def _leave_alone(
    moved: torch.Tensor, images: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None
) -> torch.Tensor:
    if targets is None:
        return moved
    return torch.where((labels == targets).reshape(*labels.shape, 1, 1, 1), images, moved)
