"""The paper's loop (Chu and Collins): a generator makes bounded perturbations, a classifier learns to withstand them.

(1) pre-train the classifier on images; (2) freeze it and train the generator; (3) perturb images and keep their labels;
(4) freeze the generator and train the classifier on images and perturbed images; (5) repeat 2 to 4. The ratio schedule
says, between two turns, who is next.
"""

from __future__ import annotations

from typing import Any

import torch

from trainables.adversarial import mixed_loss
from trainables.attacks import cross_entropy, input_gradient, project, uniform_start
from trainables.config import GanConfig, GeneratorConfig
from trainables.data import Dataset
from trainables.generator_losses import GENERATOR_LOSSES, wrongness
from trainables.loop import LossMean, TrainingLoop
from trainables.minibatches import Minibatches
from trainables.models import Generator, build_generator
from trainables.ratios import build_ratio
from trainables.schedules import warmed_up
from trainables.seeds import seed_for
from trainables.turns import Turns


def see(classifier: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, image_gradient: str) -> torch.Tensor:
    """Return what the generator sees: ``(..., 1, 28, 28)``, or two channels with the classifier's input gradient."""
    if image_gradient == "none":
        return images
    gradient = input_gradient(classifier, images, labels, cross_entropy)
    if image_gradient == "sign":
        return torch.cat([images, gradient.sign()], dim=-3)
    # Unit root mean square, so that the second channel has the size of an image whatever the classifier's confidence.
    size = gradient.square().mean((-3, -2, -1), keepdim=True).sqrt()
    # Squares of anything smaller than this underflow, so the division would blow it up without end.
    smallest = torch.finfo(size.dtype).tiny ** 0.5
    return torch.cat([images, gradient / size.clamp_min(smallest)], dim=-3)


class GanLoop(TrainingLoop):
    """Turns of a generator and of a classifier, one minibatch at a time."""

    config: GanConfig

    def __init__(self, config: GanConfig, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        settings: GeneratorConfig = config.generator
        device = dataset.train.images.device
        self.generator: Generator = build_generator(settings, seed_for(config.seed, "generator")).to(device)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), lr=settings.learning_rate, fused=True)
        self.generator_minibatches = Minibatches(
            dataset.train, config.batch_size, seed_for(config.seed, "generator order")
        )
        turn_batches = config.ratio.turn_batches or self.minibatches.per_epoch
        self.turns = Turns(build_ratio(config.ratio), turn_batches)
        self.generator_loss = LossMean()
        self._reported = (0, 0)

    @property
    def bound(self) -> float:
        """The largest perturbation now, in pixels of [0, 1]: it grows from zero over the warm-up."""
        settings = self.config.generator
        return warmed_up(settings.perturbation_bound, settings.warmup, self.progress)

    def train_minibatch(self) -> None:
        """Train whoever's turn it is on one minibatch."""
        if self.meter.compute < self.config.pretrain:
            self.train_clean_minibatch()
        elif self.turns.generator_is_next(self.progress):
            images, labels = self.generator_minibatches.draw()
            self.turns.count(self.meter.run("generator", len(labels), lambda: self._update_generator(images, labels)))
        else:
            images, labels = self.minibatches.draw()
            self.meter.run("classifier", len(labels), lambda: self._update_on_perturbed(images, labels))
            self.turns.count(None)

    def _perturbed(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        start = uniform_start(images, self.bound, self.rng) if self.config.generator.random_start else images
        seen = see(self.classifier, start, labels, self.config.generator.image_gradient)
        return project(start + self.bound * self.generator(seen), images, self.bound)

    def _update_generator(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take one step of the generator; return p(correct), which the schedule watches whatever loss it learns by."""
        self.classifier.requires_grad_(False)
        logits = self.classifier(self._perturbed(images, labels))
        self.classifier.requires_grad_(True)
        loss = GENERATOR_LOSSES[self.config.generator.loss](logits, labels).mean()
        self.generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.generator_optimizer.step()
        self.generator_loss.add(loss)
        return wrongness(logits.detach(), labels).mean()

    def _update_on_perturbed(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.no_grad():
            perturbed = self._perturbed(images, labels)
        self.update_classifier(mixed_loss(self.classifier, images, perturbed, labels, self.config.clean_weight))

    def losses(self) -> dict[str, float]:
        """Add the generator's loss, and generator turns per classifier turn since the last report."""
        losses = super().losses()
        mean = self.generator_loss.take()
        if mean is not None:
            losses["generator_loss"] = mean
        cycles, turns = self.turns.cycles - self._reported[0], self.turns.generator_turns - self._reported[1]
        if cycles:
            losses["ratio"] = turns / cycles
            self._reported = (self.turns.cycles, self.turns.generator_turns)
        return losses

    def state(self) -> dict[str, Any]:
        """See `TrainingLoop.state`."""
        return {
            **super().state(),
            "generator": self.generator.state_dict(),
            "generator_optimizer": self.generator_optimizer.state_dict(),
            "generator_drawn": self.generator_minibatches.drawn,
            "turns": self.turns.state(),
            "reported": self._reported,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `TrainingLoop.restore`."""
        super().restore(state)
        self.generator.load_state_dict(state["generator"])
        self.generator_optimizer.load_state_dict(state["generator_optimizer"])
        self.generator_minibatches.drawn = state["generator_drawn"]
        self.turns.restore(state["turns"])
        self._reported = tuple(state["reported"])
