"""Auto-PGD (Croce and Hein 2020): PGD with momentum that halves its step size where the loss no longer rises.

Pure functions with the arguments that `trainables.attacks.gradient` describes. An image that is misclassified is kept
as it was then and is not attacked further.
"""

from __future__ import annotations

import torch

from trainables.attacks.gradient import (
    ascend,
    drops_images,
    forward_and_gradient,
    per_image,
    pixel_bounds,
    project,
    uniform_start,
)
from trainables.attacks.losses import Epsilon, LogitsFn, Loss, cross_entropy, is_correct, targeted_dlr
from trainables.attacks.norms import steepest
from trainables.common.tasks import Norm

_MOMENTUM = 0.75
_NUM_TARGETS = 9  # as the authors have it
_MIN_RISES = 0.75
"""Share of the steps since the last checkpoint that must have raised the loss, or the step size is halved."""


def apgd(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    loss: Loss = cross_entropy,
    restarts: int = 1,
    rng: torch.Generator,
    drops: bool | None = None,
    norm: Norm = "linf",
) -> torch.Tensor:
    """Return each image at the first point where it is misclassified, or else at the point of the highest loss.

    An image that is misclassified without an attack is returned unchanged.

    Args:
        logits_fn: see `trainables.attacks.gradient`, as for labels and epsilon.
        images: ``(batch, C, H, W)``.
        labels: ``(batch,)``.
        epsilon: the radius in pixels of [0, 1].
        steps: how many gradient steps each restart takes.
        loss: what the steps increase.
        restarts: how many times the search runs.
        rng: draws a uniformly random start for each restart.
        drops: whether to leave out misclassified images; see `gradient.drops_images` for the default.
        norm: of the ball, ``linf`` or ``l2``.
    """
    search = _Search(logits_fn, images, labels, epsilon, drops, norm)
    for _ in range(restarts):
        search.run(steps, lambda logits, index: loss(logits, labels[index]), rng)
    return search.result


def apgd_targeted(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    num_targets: int | None = None,
    restarts: int = 1,
    rng: torch.Generator,
    drops: bool | None = None,
    norm: Norm = "linf",
) -> torch.Tensor:
    """Run APGD towards one wrong label after another with `losses.targeted_dlr`; return images as `apgd` does.

    The targets of an image are the ``num_targets`` wrong labels of the largest logits without an attack, the largest
    first. The attack succeeds with any wrong label, not only with the target.

    Args:
        logits_fn: see `trainables.attacks.gradient`.
        images: ``(batch, C, H, W)``.
        labels: ``(batch,)``.
        epsilon: the radius in pixels of [0, 1].
        steps: how many gradient steps to take for each target and restart.
        num_targets: how many wrong labels to try; by default nine, or as many as there are.
        restarts: how many times to search for each target.
        rng: draws a uniformly random start for each restart.
        drops: whether to leave out misclassified images; see `gradient.drops_images` for the default.
        norm: of the ball, ``linf`` or ``l2``.

    Raises:
        ValueError: ``num_targets`` is not between 1 and the number of wrong labels.
    """
    search = _Search(logits_fn, images, labels, epsilon, drops, norm)
    num_wrong = search.clean_logits.shape[-1] - 1
    if num_targets is None:
        num_targets = min(_NUM_TARGETS, num_wrong)
    if not 0 < num_targets <= num_wrong:
        raise ValueError(f"num_targets must be from 1 to {num_wrong}, the number of wrong labels, got {num_targets}")
    wrong = search.clean_logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
    for targets in wrong.topk(num_targets).indices.unbind(-1):
        for _ in range(restarts):
            search.run(steps, _towards(labels, targets), rng)
    return search.result


def _towards(labels: torch.Tensor, targets: torch.Tensor) -> Loss:
    return lambda logits, index: targeted_dlr(logits, labels[index], targets[index])


class _Survivors:
    """State of the images that are still classified correctly; the first dimension of every attribute counts them."""

    def __init__(self, index: torch.Tensor, start: torch.Tensor, images: torch.Tensor, epsilon: Epsilon) -> None:
        self.index = index  # positions in the batch
        self.low, self.high = pixel_bounds(images, epsilon)
        self.current = self.previous = start
        self.sign = torch.zeros_like(start)  # of the gradient at `current`; in L2 its direction
        self.best, self.best_sign = start.clone(), torch.zeros_like(start)
        self.step_size = 2.0 * epsilon * torch.ones_like(start[:, :1, :1, :1])
        self.num_rises = torch.zeros_like(index)  # since the last checkpoint
        self.was_halved = torch.ones_like(index, dtype=torch.bool)  # at the last checkpoint
        self.loss = torch.full_like(start[:, 0, 0, 0], torch.inf)  # at `current`; the first loss is no rise
        self.best_loss = torch.full_like(self.loss, -torch.inf)
        self.checked_loss = self.best_loss  # the best at the last checkpoint

    def keep(self, survives: torch.Tensor) -> None:
        """Drop the images that do not survive: ``(survivors,)`` of booleans."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[survives])

    def record(self, loss: torch.Tensor, sign: torch.Tensor) -> None:
        """Record the loss and the sign of the gradient at the current point."""
        self.num_rises += loss > self.loss
        self.loss, self.sign = loss, sign
        is_best = per_image(loss > self.best_loss)
        self.best = torch.where(is_best, self.current, self.best)
        self.best_sign = torch.where(is_best, sign, self.best_sign)
        self.best_loss = torch.maximum(loss, self.best_loss)

    def halve_if_stuck(self, num_steps: int) -> None:
        """Where too few of the last ``num_steps`` raised the loss, halve the step size and return to the best point."""
        is_stuck = ~self.was_halved & (self.best_loss <= self.checked_loss)
        self.was_halved = is_stuck | (self.num_rises <= _MIN_RISES * num_steps)
        self.checked_loss = self.best_loss
        self.num_rises.zero_()
        was_halved = per_image(self.was_halved)
        self.step_size = torch.where(was_halved, self.step_size / 2, self.step_size)
        self.current = torch.where(was_halved, self.best, self.current)
        self.sign = torch.where(was_halved, self.best_sign, self.sign)

    def step(self, momentum: float) -> None:
        """Take a step; with a momentum of 1 it is a step of PGD."""
        step = torch.addcmul(self.current, self.step_size, self.sign).clamp_(self.low, self.high)
        moved = self.current + momentum * (step - self.current) + (1.0 - momentum) * (self.current - self.previous)
        self.previous, self.current = self.current, moved.clamp_(self.low, self.high)


class _SurvivorsL2(_Survivors):
    """State of the images in an L2 ball."""

    def __init__(self, index: torch.Tensor, start: torch.Tensor, images: torch.Tensor, epsilon: Epsilon) -> None:
        super().__init__(index, start, images, epsilon)
        self.images, self.radius = images, torch.ones_like(self.step_size) * epsilon
        del self.low, self.high

    def step(self, momentum: float) -> None:
        """See `_Survivors.step`; both the step and the point that momentum leads to are projected."""
        step = project(torch.addcmul(self.current, self.step_size, self.sign), self.images, self.radius, "l2")
        moved = self.current + momentum * (step - self.current) + (1.0 - momentum) * (self.current - self.previous)
        self.previous, self.current = self.current, project(moved, self.images, self.radius, "l2")


def _on_sphere(images: torch.Tensor, epsilon: Epsilon, rng: torch.Generator) -> torch.Tensor:
    """Return a random point at the distance epsilon from each image, clipped to [0, 1]: where the authors start."""
    noise = torch.randn(images.shape, generator=rng, device=images.device, dtype=images.dtype)
    return ascend(images, noise, epsilon, "l2")


class _Search:
    """The best point of each image over restarts and targets, and which images are still classified correctly."""

    def __init__(
        self,
        logits_fn: LogitsFn,
        images: torch.Tensor,
        labels: torch.Tensor,
        epsilon: Epsilon,
        drops: bool | None = None,
        norm: Norm = "linf",
    ) -> None:
        self._norm: Norm = norm
        self._logits_fn, self._images, self._labels, self._epsilon = logits_fn, images, labels, epsilon
        self.result = images.clone()
        with torch.no_grad():
            self.clean_logits = logits_fn(images)
        is_right = is_correct(self.clean_logits, labels)
        self._drops = drops_images(images) if drops is None else drops
        self._index = is_right.nonzero().squeeze(-1) if self._drops else torch.arange(len(labels), device=labels.device)
        self._survives = is_right  # read only where nothing is dropped
        self._loss = torch.full_like(self.clean_logits[:, 0], -torch.inf)

    def run(self, steps: int, objective: Loss, rng: torch.Generator) -> None:
        """Search once from a random start; the objective takes logits and their images' positions in the batch."""
        images = self._images[self._index]
        if self._norm == "l2":
            start = _on_sphere(self._images, self._epsilon, rng)[self._index]
            survivors: _Survivors = _SurvivorsL2(self._index, start, images, self._epsilon)
        else:
            start = uniform_start(self._images, self._epsilon, rng)[self._index]
            survivors = _Survivors(self._index, start, images, self._epsilon)
        checkpoints = _checkpoints(steps)
        checked = 0
        for step in range(steps + 1):
            if not len(survivors.index):
                break
            if step:
                survivors.step(_MOMENTUM if step > 1 else 1.0)
            index = survivors.index
            logits, loss, gradient = forward_and_gradient(self._logits_fn, survivors.current, index, objective)
            survivors.record(loss, steepest(gradient, self._norm))
            survives = is_correct(logits, self._labels[index])
            if not self._drops:
                self._keep_fooled(survivors.current, survives)
            elif not survives.all():
                self.result[index[~survives]] = survivors.current[~survives]
                survivors.keep(survives)
            if step in checkpoints:
                survivors.halve_if_stuck(step - checked)
                checked = step
        if not self._drops:
            is_best = self._survives & (survivors.best_loss > self._loss)
            self.result = torch.where(per_image(is_best), survivors.best, self.result)
            self._loss = torch.where(is_best, survivors.best_loss, self._loss)
            return
        self._index = survivors.index
        is_best = survivors.best_loss > self._loss[self._index]
        better = self._index[is_best]
        self.result[better], self._loss[better] = survivors.best[is_best], survivors.best_loss[is_best]

    def _keep_fooled(self, current: torch.Tensor, survives: torch.Tensor) -> None:
        is_fooled = self._survives & ~survives
        self.result = torch.where(per_image(is_fooled), current, self.result)
        self._survives = self._survives & survives


def _checkpoints(steps: int) -> set[int]:
    """Return the numbers of the steps after which the step size may be halved.

    The first interval is 22 % of all steps; each next one is 3 % shorter, but at least 6 %. Intervals are whole steps,
    rounded down as in the authors' code.
    """
    interval, shortest, shorter = (max(share * steps // 100, 1) for share in (22, 6, 3))
    checkpoints, position = set(), interval
    while position <= steps:
        checkpoints.add(position)
        interval = max(interval - shorter, shortest)
        position += interval
    return checkpoints
