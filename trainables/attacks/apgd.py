"""Auto-PGD (Croce and Hein 2020): PGD with momentum, and a step size that is halved where it leads nowhere.

Like `attacks`, pure functions; an image that has fallen is kept as it was and costs nothing more.
"""

from __future__ import annotations

import torch

from trainables.attacks.gradient import StillCorrect, aim_of, bounds, forward_and_gradient, still_correct, uniform_start
from trainables.attacks.losses import Epsilon, LogitsFn, Loss, cross_entropy, targeted_dlr

_MOMENTUM = 0.75
_RISES = 0.75
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
    targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return for each image the first point where it fell, or the one of the highest loss if it never did.

    Images ``(batch, 1, 28, 28)``; an image that is wrong from the beginning is returned as it is. Every restart begins
    at a random point of the ball and does `steps` steps.
    """
    aim, direction = aim_of(labels, targets)
    search = _Search(logits_fn, images, epsilon, still_correct(labels, targets))
    for _ in range(restarts):
        search.climb(steps, lambda logits, index: direction * loss(logits, aim[index]), rng)
    return search.found


def apgd_targeted(
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: Epsilon,
    *,
    steps: int,
    num_targets: int = 9,
    restarts: int = 1,
    rng: torch.Generator,
) -> torch.Tensor:
    """Return what `apgd` does when it pulls towards one wrong label after the other with `attacks.targeted_dlr`.

    The targets of an image are the ``num_targets`` labels that the net finds likeliest for it beside the true one, the
    likeliest first. Any wrong label counts as success.

    Raises:
        ValueError: there are not that many wrong labels.
    """
    search = _Search(logits_fn, images, epsilon, still_correct(labels, None))
    num_wrong = search.clean_logits.shape[-1] - 1
    if not 0 < num_targets <= num_wrong:
        raise ValueError(f"num_targets must be from 1 to {num_wrong}, the number of wrong labels, got {num_targets}")
    wrong = search.clean_logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
    for targets in wrong.topk(num_targets).indices.unbind(-1):
        for _ in range(restarts):
            search.climb(steps, _pull(labels, targets), rng)
    return search.found


def _pull(labels: torch.Tensor, targets: torch.Tensor) -> Loss:
    return lambda logits, index: targeted_dlr(logits, labels[index], targets[index])


class _Climbers:
    """What is known of the images that still stand; every attribute is a tensor that begins with their number."""

    def __init__(self, index: torch.Tensor, start: torch.Tensor, images: torch.Tensor, epsilon: Epsilon) -> None:
        self.index = index  # where in the batch
        self.low, self.high = bounds(images, epsilon)
        self.current = self.previous = start
        self.sign = torch.zeros_like(start)  # of the gradient at `current`
        self.best, self.best_sign = start.clone(), torch.zeros_like(start)
        self.step_size = 2.0 * epsilon * torch.ones_like(start[:, :1, :1, :1])
        self.num_rises = torch.zeros_like(index)  # since the last checkpoint
        self.was_halved = torch.ones_like(index, dtype=torch.bool)  # at the last checkpoint
        self.loss = torch.full_like(start[:, 0, 0, 0], torch.inf)  # at `current`; nothing rises above the first
        self.best_loss = torch.full_like(self.loss, -torch.inf)
        self.checked_loss = self.best_loss  # the best at the last checkpoint

    def keep(self, still: torch.Tensor) -> None:
        """Forget those that have fallen."""
        for name, tensor in vars(self).items():
            setattr(self, name, tensor[still])

    def observe(self, loss: torch.Tensor, sign: torch.Tensor) -> None:
        """Take note of the loss, and of the gradient's sign, at the current point."""
        self.num_rises += loss > self.loss
        self.loss, self.sign = loss, sign
        is_best = loss > self.best_loss
        self.best[is_best], self.best_sign[is_best] = self.current[is_best], sign[is_best]
        self.best_loss = torch.maximum(loss, self.best_loss)

    def check(self, num_steps: int) -> None:
        """Halve the step size and go back to the best point where the last steps led nowhere."""
        is_stuck = ~self.was_halved & (self.best_loss <= self.checked_loss)
        self.was_halved = is_stuck | (self.num_rises <= _RISES * num_steps)
        self.checked_loss = self.best_loss
        self.num_rises.zero_()
        self.step_size[self.was_halved] /= 2
        self.current[self.was_halved], self.sign[self.was_halved] = (
            self.best[self.was_halved],
            self.best_sign[self.was_halved],
        )

    def move(self, momentum: float) -> None:
        """Take a step; without momentum it is one of PGD."""
        step = torch.addcmul(self.current, self.step_size, self.sign).clamp_(self.low, self.high)
        moved = self.current + momentum * (step - self.current) + (1.0 - momentum) * (self.current - self.previous)
        self.previous, self.current = self.current, moved.clamp_(self.low, self.high)


class _Search:
    """The best points found so far, over restarts and targets, and which images are not fooled yet."""

    def __init__(self, logits_fn: LogitsFn, images: torch.Tensor, epsilon: Epsilon, is_correct: StillCorrect) -> None:
        self._logits_fn, self._images, self._epsilon, self._is_correct = logits_fn, images, epsilon, is_correct
        self.found = images.clone()
        with torch.no_grad():
            self.clean_logits = logits_fn(images)
        everything = torch.arange(len(images), device=images.device)
        self._alive = everything[is_correct(self.clean_logits, everything)]
        self._loss = torch.full_like(self.clean_logits[:, 0], -torch.inf)

    def climb(self, steps: int, objective: Loss, rng: torch.Generator) -> None:
        """Climb from a random point; the objective takes logits and the positions of their images in the batch."""
        start = uniform_start(self._images, self._epsilon, rng)[self._alive]
        climbers = _Climbers(self._alive, start, self._images[self._alive], self._epsilon)
        checkpoints = _checkpoints(steps)
        checked = 0
        for step in range(steps + 1):
            if not len(climbers.index):
                break
            if step:
                climbers.move(_MOMENTUM if step > 1 else 1.0)
            logits, loss, gradient = forward_and_gradient(self._logits_fn, climbers.current, climbers.index, objective)
            climbers.observe(loss, gradient.sign())
            still = self._is_correct(logits, climbers.index)
            if not still.all():
                self.found[climbers.index[~still]] = climbers.current[~still]
                climbers.keep(still)
            if step in checkpoints:
                climbers.check(step - checked)
                checked = step
        self._alive = climbers.index
        is_best = climbers.best_loss > self._loss[self._alive]
        better = self._alive[is_best]
        self.found[better], self._loss[better] = climbers.best[is_best], climbers.best_loss[is_best]


def _checkpoints(steps: int) -> set[int]:
    """Return after which steps the step size is judged: after 22 % of them, then by ever shorter intervals down to 6 %.

    Intervals in whole steps, rounded down as in the authors' code.
    """
    interval, shortest, shorter = (max(share * steps // 100, 1) for share in (22, 6, 3))
    checkpoints, at = set(), interval
    while at <= steps:
        checkpoints.add(at)
        interval = max(interval - shorter, shortest)
        at += interval
    return checkpoints
