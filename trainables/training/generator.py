"""The adversary: a generator with its training, apart from any loop: it needs a classifier to learn to fool."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from trainables.config import GeneratorConfig
from trainables.networks.generator_losses import GENERATOR_LOSSES, TARGETED_LOSSES, target_missed, wrongness
from trainables.networks.generators import Generator, build_generator
from trainables.networks.perturbation import SMALLEST, draw, perturbed
from trainables.schedules import value_at
from trainables.seeds import seed_for
from trainables.training.optimizers import build_optimizer, descend, set_learning_rate


class Update(NamedTuple):
    """The loss that a generator learnt by, and how far it had lost: mean p(correct), or 1 - p(target)."""

    loss: torch.Tensor
    lost: torch.Tensor


class Adversary:
    """A generator, its optimiser and its past selves; images are ``(batch, 1, 28, 28)`` in [0, 1], labels ``(batch,)``.

    Whatever it does, a classifier keeps its mode and its parameters keep what they require and their gradients.
    """

    def __init__(self, settings: GeneratorConfig, seed: int, device: torch.device | str = "cpu") -> None:
        self.settings = settings
        self._seed = seed
        self._device = device
        self.generator, self.optimizer = self._fresh()
        self.pool: list[Generator] = []

    def _fresh(self, *purpose: int) -> tuple[Generator, torch.optim.Optimizer]:
        settings = self.settings
        generator = build_generator(settings, seed_for(self._seed, "generator", *purpose)).to(self._device)
        rate = value_at(settings.learning_rate, 0.0)
        return generator, build_optimizer(generator.parameters(), settings.optimizer, rate)

    def set_learning_rate(self, progress: float) -> None:
        """Give the optimiser the learning rate at a progress in [0, 1]."""
        set_learning_rate(self.optimizer, value_at(self.settings.learning_rate, progress))

    def num_concerned(self, labels: torch.Tensor) -> int:
        """Return how many images the goal perturbs at all, which is what it costs."""
        return len(self._concerned(labels)) if self.settings.goal == "source_to_target" else len(labels)

    def _concerned(self, labels: torch.Tensor) -> torch.Tensor:
        return (labels == cast(int, self.settings.source)).nonzero().squeeze(-1)

    @torch.no_grad()
    def perturb(
        self,
        classifier: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        bound: float,
        rng: torch.Generator,
        *,
        from_pool: bool = False,
    ) -> torch.Tensor:
        """Return the images as the generator leaves them: within ``bound`` of what they were and in [0, 1].

        Images that the goal does not concern come back as they are. With ``from_pool`` the generator is drawn at random
        from the present and the past ones.
        """
        generator = self._draw_generator(rng) if from_pool and self.pool else self.generator
        if self.settings.goal != "source_to_target":
            return perturbed(
                self.settings, generator, classifier, draw(self.settings, images, labels, bound, rng), bound
            )
        index = self._concerned(labels)
        if not len(index):
            return images
        drawn = draw(self.settings, images[index], labels[index], bound, rng)
        return images.index_copy(0, index, perturbed(self.settings, generator, classifier, drawn, bound))

    def update(
        self, classifier: nn.Module, images: torch.Tensor, labels: torch.Tensor, bound: float, rng: torch.Generator
    ) -> Update | None:
        """Take one step of the generator against a classifier that stays as it is; None if no image is concerned.

        It learns by the loss after the last recursion, from that recursion; see `perturbation.perturbed`.
        """
        settings = self.settings
        if settings.goal == "source_to_target":
            index = self._concerned(labels)
            images, labels = images[index], labels[index]
        if not len(labels):
            return None
        drawn = draw(settings, images, labels, bound, rng, times=2 if settings.diversity else 1)
        with _frozen(classifier):
            moved = perturbed(settings, self.generator, classifier, drawn, bound)
            logits = classifier(moved)
        loss, lost = self._losses(logits, drawn.labels)
        if settings.diversity:
            loss = loss - settings.diversity * spread(moved, drawn.noise)
        descend(self.optimizer, loss, settings.gradient_clip)
        return Update(loss.detach(), lost)

    def _losses(self, logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss that is minimised, and the mean of what the generator has lost."""
        name, target = self.settings.loss, self.settings.target
        if target is None:
            return GENERATOR_LOSSES[name](logits, labels).mean(), wrongness(logits.detach(), labels).mean()
        targets = torch.full_like(labels, target)
        return TARGETED_LOSSES[name](logits, targets).mean(), target_missed(logits.detach(), targets).mean()

    def _draw_generator(self, rng: torch.Generator) -> Generator:
        choice = int(torch.randint(1 + len(self.pool), (), generator=rng, device=rng.device))
        return (self.generator, *self.pool)[choice]

    def end_cycle(self, cycle: int) -> None:
        """Keep a copy of the generator, then begin a new one, where the settings say so after that many cycles."""
        settings = self.settings
        if settings.pool and cycle % settings.pool_every == 0:
            self.pool = [*self.pool, copy.deepcopy(self.generator)][-settings.pool :]
        if settings.reinitialise_every and cycle % settings.reinitialise_every == 0:
            self.generator, self.optimizer = self._fresh(cycle)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {
            "generator": self.generator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pool": [past.state_dict() for past in self.pool],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.pool = [copy.deepcopy(self.generator) for _ in state["pool"]]
        for past, weights in zip(self.pool, state["pool"], strict=True):
            past.load_state_dict(weights)


def spread(moved: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return mean |dx| / |dz| of two draws per image, the second half of the batch beside the first.

    Both are mean absolute differences, per pixel and per number of noise: what a generator that ignores its noise lacks
    (Mao et al. 2019, mode seeking).
    """
    (one, other), (of_one, of_other) = moved.chunk(2), noise.chunk(2)
    distance, of_noise = (one - other).abs().flatten(1).mean(1), (of_one - of_other).abs().mean(1)
    return (distance / of_noise.clamp_min(SMALLEST)).mean()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Let no gradient reach a model's parameters, and leave them as they were found."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
