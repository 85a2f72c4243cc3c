"""Gradient attacks in the L-infinity or the L2 ball: FGSM, R+FGSM, PGD and MI-FGSM, and the steps in them.

Every attack is a pure function ``attack(logits_fn, images, labels, epsilon, ...)`` that returns adversarial images of
the shape of ``images``, within ``epsilon`` of them and in [0, 1]:

- ``logits_fn`` maps images to logits ``(..., classes)``, most often a classifier in evaluation mode;
- ``images`` are floats ``(..., C, H, W)`` in [0, 1], ``labels`` the true classes ``(...)`` as integers;
- ``epsilon`` is the radius in pixels of [0, 1], a number or a tensor that broadcasts against the images;
- ``norm`` is that of the ball: steps go along the gradient's signs in ``linf``, and along the gradient in ``l2``;
- ``rng`` draws all random numbers, on the device of the images.

All attacks are untargeted: they lead away from the true label. Parameters get no gradients, a model keeps its mode, and
the global random state is neither read nor changed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trainables.attacks.losses import Epsilon, LogitsFn, Loss, cross_entropy, is_correct
from trainables.attacks.norms import clip_length, random_in_ball, steepest, unit
from trainables.common.tasks import Norm


def drops_images(images: torch.Tensor) -> bool:
    """Return whether an attack leaves out images as soon as they are misclassified, on the device of the images.

    On a CPU that saves the work on them. On a GPU the host would have to wait for the device at every step, which
    costs more than the work: there an attack goes on with all images, and keeps those as they were.
    """
    return not images.is_cuda


REACH = 2.5
"""Default total length of all steps of PGD and MI-FGSM, in epsilons. Crossing the whole ball takes 2.

The 40 steps of 0.01 that Madry et al. 2018 train with have a total of 1.33 epsilons. On five classifiers of a GAN loop
they left the accuracy 6 to 13 points higher."""


def input_gradient(logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, loss: Loss) -> torch.Tensor:
    """Return the gradient of each image's loss with respect to that image, shaped like the images."""
    return forward_and_gradient(logits_fn, images, labels, loss)[2]


def forward_and_gradient(
    logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logits ``(..., classes)``, losses ``(...)`` and the input gradient, from one forward and backward pass.

    See `input_gradient`. The gradient is 0 where it is NaN, as where weights are so large that it overflows, and where
    the logits do not depend on the images by anything that has a gradient, as behind a threshold.
    """
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = logits_fn(leaf)
        losses = loss(logits, labels)
        gradient = None
        if losses.requires_grad:
            (gradient,) = torch.autograd.grad(losses.sum(), leaf, allow_unused=True)
    return logits.detach(), losses.detach(), torch.zeros_like(leaf) if gradient is None else gradient.nan_to_num()


def pixel_bounds(images: torch.Tensor, epsilon: Epsilon) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lowest and the highest value that each pixel may take: within epsilon of the image and in [0, 1]."""
    return (images - epsilon).clamp_min(0.0), (images + epsilon).clamp_max(1.0)


def project(adversarial: torch.Tensor, images: torch.Tensor, epsilon: Epsilon, norm: Norm = "linf") -> torch.Tensor:
    """Return a point within epsilon of the images and in [0, 1]: in L-infinity the nearest one.

    In L2 it is the nearest point of the ball, clipped to [0, 1], which brings it nearer to the image.
    """
    if norm == "l2":
        return (images + clip_length(adversarial - images, epsilon)).clamp(0.0, 1.0)
    return torch.minimum(torch.maximum(adversarial, images - epsilon), images + epsilon).clamp(0.0, 1.0)


def uniform_start(
    images: torch.Tensor, epsilon: Epsilon, rng: torch.Generator, *, clipped: bool = True, norm: Norm = "linf"
) -> torch.Tensor:
    """Return a uniformly random point of the epsilon ball around each image.

    Args:
        images: the centres of the balls.
        epsilon: their radius in pixels of [0, 1].
        rng: draws the points.
        clipped: whether to clip the points to [0, 1]; without it a pixel may leave that range by epsilon.
        norm: of the balls.
    """
    if norm == "l2":
        start = images + random_in_ball(images, epsilon, rng)
        return start.clamp(0.0, 1.0) if clipped else start
    noise = torch.rand(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    start = images + (2.0 * noise - 1.0) * epsilon
    return start.clamp(0.0, 1.0) if clipped else start


def ascend(images: torch.Tensor, gradient: torch.Tensor, step_size: Epsilon, norm: Norm = "linf") -> torch.Tensor:
    """Return clip(images + step_size * direction, 0, 1), with the gradient's signs or, in L2, its direction."""
    return (images + step_size * steepest(gradient, norm)).clamp(0.0, 1.0)


def fgsm(
    logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: Epsilon, *, norm: Norm = "linf"
) -> torch.Tensor:
    """Fast gradient sign method: return clip(images + epsilon * sign(gradient), 0, 1) (Goodfellow et al. 2014).

    In L2 it is the fast gradient method, a step of length epsilon along the gradient.
    """
    return ascend(images, input_gradient(logits_fn, images, labels, cross_entropy), epsilon, norm)


def r_fgsm(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    rng: torch.Generator,
    norm: Norm = "linf",
) -> torch.Tensor:
    """R+FGSM: take a step of epsilon / 2 in random signs, then an FGSM step of epsilon / 2 (Tramer et al. 2018).

    In L2 the first step goes in a random direction.
    """
    noise = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    start = ascend(images, noise, 0.5 * epsilon, norm)
    gradient = input_gradient(logits_fn, start, labels, cross_entropy)
    return project(start + 0.5 * epsilon * steepest(gradient, norm), images, epsilon, norm)


def _limits(images: torch.Tensor, epsilon: Epsilon, norm: Norm) -> tuple[torch.Tensor, ...]:
    """Return what `_moved` keeps images within: the bounds of their pixels or, in L2, the centres of the balls."""
    return pixel_bounds(images, epsilon) if norm == "linf" else (images,)


def _moved(
    current: torch.Tensor,
    gradient: torch.Tensor,
    size: Epsilon,
    limits: Sequence[torch.Tensor],
    epsilon: Epsilon,
    norm: Norm,
) -> torch.Tensor:
    """Return images after a step up the gradient, projected into the ball and the box; the gradient may be reused."""
    if norm == "l2":
        (images,) = limits
        return project(current + size * unit(gradient), images, epsilon, norm)
    low, high = limits
    return gradient.sign().mul_(size).add_(current).clamp_(low, high)


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
    norm: Norm = "linf",
) -> torch.Tensor:
    """Projected gradient descent: return the images after the last sign step (Madry et al. 2018).

    Args:
        logits_fn: see the module, as for images, labels and epsilon.
        images: see the module.
        labels: see the module.
        epsilon: see the module.
        steps: how many gradient steps to take.
        step_size: length of each, in pixels of [0, 1].
        loss: what the steps increase.
        rng: draws a uniformly random start; without it the search starts at the images.
        clipped_start: whether the start is clipped to [0, 1]; what is returned always is.
        norm: see the module.
    """
    adversarial = images if rng is None else uniform_start(images, epsilon, rng, clipped=clipped_start, norm=norm)
    limits = _limits(images, epsilon, norm)
    for _ in range(steps):
        gradient = input_gradient(logits_fn, adversarial, labels, loss)
        adversarial = _moved(adversarial, gradient, step_size, limits, epsilon, norm)
    return adversarial


def mi_fgsm(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    step_size: Epsilon | None = None,
    decay: float = 1.0,
    norm: Norm = "linf",
) -> torch.Tensor:
    """Momentum iterative FGSM: return the images after the last sign step along the momentum (Dong et al. 2018).

    The momentum is the decayed sum of the gradients so far, each divided by its mean absolute value.

    Args:
        logits_fn: see the module, as for images, labels and epsilon.
        images: see the module.
        labels: see the module.
        epsilon: see the module.
        steps: how many gradient steps to take.
        step_size: length of each, in pixels of [0, 1]; by default ``REACH * epsilon / steps``.
        decay: factor of the momentum at each step; with 0 the attack is PGD without a random start.
        norm: see the module.
    """
    step = REACH * epsilon / steps if step_size is None else step_size
    adversarial, momentum = images, torch.zeros_like(images)
    for _ in range(steps):
        gradient = input_gradient(logits_fn, adversarial, labels, cross_entropy)
        size = gradient.abs().mean((-3, -2, -1), keepdim=True)
        momentum = decay * momentum + gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
        adversarial = project(adversarial + step * steepest(momentum, norm), images, epsilon, norm)
    return adversarial


def pgd_survivors(  # noqa: PLR0913 - all that such an attack can be told
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
    drops: bool | None = None,
    norm: Norm = "linf",
) -> torch.Tensor:
    """PGD that stops for each image as soon as it is misclassified, and returns it as it was then.

    Predictions are tested at the start and after every step, so the attack finds at least what `pgd` finds with the
    same random numbers, and becomes cheaper with every image that is misclassified. An image that never is, is returned
    as it was after the last step of the last restart.

    Args:
        logits_fn: see the module, as for labels and epsilon.
        images: ``(batch, C, H, W)``.
        labels: see the module.
        epsilon: see the module.
        steps: how many gradient steps each restart takes.
        step_size: length of each, in pixels of [0, 1]; by default ``REACH * epsilon / steps``.
        loss: what the steps increase.
        restarts: how many times the search runs.
        rng: draws a uniformly random start for each restart; without it all restarts are the same.
        drops: whether to leave out misclassified images; see `drops_images` for the default.
        norm: see the module.
    """
    size = REACH * epsilon / max(steps, 1) if step_size is None else step_size
    if not (drops_images(images) if drops is None else drops):
        return _pgd_on_all(logits_fn, images, labels, epsilon, steps, size, loss, restarts, rng, norm)
    result = images.clone()
    survivors = torch.arange(len(images), device=images.device)
    limits_of_all = _limits(images, epsilon, norm)
    for _ in range(restarts):
        start = images if rng is None else uniform_start(images, epsilon, rng, norm=norm)
        current, *limits = (tensor[survivors] for tensor in (start, *limits_of_all))
        for step in range(steps + 1):
            if not len(survivors):
                break
            logits, _, gradient = forward_and_gradient(logits_fn, current, labels[survivors], loss)
            survives = is_correct(logits, labels[survivors])
            if not survives.all():
                result[survivors[~survives]] = current[~survives]
                survivors, current, gradient, *limits = (
                    tensor[survives] for tensor in (survivors, current, gradient, *limits)
                )
            if step < steps:
                current = _moved(current, gradient, size, limits, epsilon, norm)
        result[survivors] = current
    return result


def _pgd_on_all(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    steps: int,
    size: float,
    loss: Loss,
    restarts: int,
    rng: torch.Generator | None,
    norm: Norm,
) -> torch.Tensor:
    """Return what `pgd_survivors` returns, without a look at what is misclassified."""
    result = current = images
    survives = torch.ones_like(labels, dtype=torch.bool)
    limits = _limits(images, epsilon, norm)
    for _ in range(restarts):
        start = images if rng is None else uniform_start(images, epsilon, rng, norm=norm)
        current = torch.where(per_image(survives), start, result)
        for step in range(steps + 1):
            logits, _, gradient = forward_and_gradient(logits_fn, current, labels, loss)
            survives = survives & is_correct(logits, labels)
            if step < steps:
                moved = _moved(current, gradient, size, limits, epsilon, norm)
                current = torch.where(per_image(survives), moved, current)
        result = current
    return result


def per_image(values: torch.Tensor) -> torch.Tensor:
    """Return values ``(batch,)`` as ``(batch, 1, 1, 1)``."""
    return values[:, None, None, None]
