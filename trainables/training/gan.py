"""The GAN loop (Chu and Collins): a generator learns to perturb images, a classifier to be robust against it.

(1) Pre-train the classifier on clean images; (2) freeze it and train the generator; (3) perturb images and keep their
labels; (4) freeze the generator and train the classifier on clean and perturbed images; (5) repeat 2 to 4. A ratio
schedule decides how many turns of the generator come before each turn of the classifier.
"""

from __future__ import annotations

from typing import Any, cast

import torch

from trainables.common.seeds import seed_for
from trainables.config import GanConfig
from trainables.config.schedules import value_at, warmed_up
from trainables.data.tensors import Dataset
from trainables.evaluation.measured import Measured, joined
from trainables.training.generator import Adversary, Update
from trainables.training.loop import LossMean, TrainingLoop
from trainables.training.minibatches import Minibatches
from trainables.training.ratio import TurnCounter, build_ratio
from trainables.training.recipes import mixed_loss
from trainables.training.success import measure_generator


class GanLoop(TrainingLoop):
    """Alternating turns of a generator and a classifier; see the module and `TrainingLoop`."""

    config: GanConfig

    def __init__(self, config: GanConfig, dataset: Dataset) -> None:
        super().__init__(config, dataset)
        self.adversary = Adversary(
            config.generator, dataset.task, config.seed, dataset.train.device, config.evaluation.norm
        )
        order = seed_for(config.seed, "generator order")
        self.generator_minibatches = Minibatches(dataset.train, config.batch_size, order, config.augmentation)
        turn_batches = config.ratio.turn_batches or self.minibatches.per_epoch
        self.turns = TurnCounter(build_ratio(config.ratio), turn_batches)
        self.generator_loss = LossMean()
        self._perturbed: list[torch.Tensor] = []  # by the generator's last minibatches, if the classifier reuses them
        self.updates.adopt(self.adversary.optimizer)
        self._reported = (0, 0)

    @property
    def bound(self) -> float:
        """The largest perturbation at present, in pixels of [0, 1]: its schedule's value, less during the warm-up."""
        settings = self.config.generator
        return warmed_up(value_at(settings.perturbation_bound, self.progress), settings.warmup, self.progress)

    def train_minibatch(self) -> None:
        """Train the network whose turn it is on one minibatch; before that, pre-train the classifier."""
        if self.meter.compute < self.config.pretrain:
            self.train_clean_minibatch()
        elif self.turns.generator_is_next(self.progress):
            images, labels = self.generator_minibatches.next_minibatch()
            update = self._train_generator(images, labels)
            self._keep(images if update is None else update.perturbed)
            self.turns.count_minibatch(None if update is None else update.failure_probability)
        else:
            self._train_classifier(*self._classifier_minibatch())
            cycles = self.turns.cycles
            self.turns.count_minibatch(None)
            if self.turns.cycles > cycles and self.adversary.end_cycle(self.turns.cycles):
                self.updates.forget("generator", "perturb")
                self.updates.adopt(self.adversary.optimizer)

    def _keep(self, perturbed: torch.Tensor) -> None:
        if self.config.generator.minibatch == "reused":
            # Copied, since what an update returns is valid until the next one.
            self._perturbed = [*self._perturbed, perturbed.clone()][-cast(int, self.config.ratio.turn_batches) :]

    def _train_generator(self, images: torch.Tensor, labels: torch.Tensor) -> Update | None:
        """Train the generator; return what it measured, None if it perturbs none of the images."""
        num_images = self.adversary.num_perturbed(labels)
        if not num_images:
            return None
        self.adversary.set_learning_rate(self.progress)
        bound, adversary = self.updates.number("bound", self.bound), self.adversary
        is_static = adversary.settings.goal != "source_to_target"
        update = self.meter.run(
            "generator",
            num_images,
            lambda: self.updates.run(
                "generator",
                lambda images, labels: adversary.update(self.classifier, images, labels, bound, self.rng),
                images,
                labels,
                is_static=is_static,
            ),
        )
        if update is None:
            return None
        self.generator_loss.add(update.loss)
        return update

    def _classifier_minibatch(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.config.generator.minibatch == "fresh":
            return self.minibatches.next_minibatch()
        # The minibatches of the generator's last turn, in the same order.
        return self.generator_minibatches.at(self.generator_minibatches.num_drawn - self.turns.batches_left)

    def _train_classifier(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        draws = self.config.generator.draws
        repeated, repeated_labels = images.repeat(draws, 1, 1, 1), labels.repeat(draws)
        num_images = self.adversary.num_perturbed(repeated_labels)
        # Metered apart from the update, because the goal may perturb another number of images in every minibatch.
        perturbed = repeated
        if self.config.generator.minibatch == "reused":
            perturbed = self._perturbed[-self.turns.batches_left]
        elif num_images:
            perturbed = self.meter.run("perturb", num_images, lambda: self._perturb(repeated, repeated_labels))
        clean_weight = self.config.clean_weight
        self.run_update(
            "classifier",
            lambda images, perturbed, labels: self.descend(
                mixed_loss(self.classifier, images, perturbed, labels, clean_weight)
            ),
            images,
            perturbed,
            labels,
        )

    def _perturb(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        bound, adversary = self.updates.number("bound", self.bound), self.adversary
        return self.updates.run(
            "perturb",
            lambda images, labels: adversary.perturb(self.classifier, images, labels, bound, self.rng, from_pool=True),
            images,
            labels,
            # Which generator of the pool perturbs is known only when it is drawn.
            is_static=adversary.settings.goal != "source_to_target" and not adversary.pool,
        )

    def perturb(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Perturb images by the generator within the present bound; see `Adversary.perturb`."""
        return self.adversary.perturb(self.classifier, images, labels, self.bound, self.rng)

    def measure(self, tier: str) -> Measured:
        """Measure the accuracies of a tier; of ``watch`` also those under the generator within its present bound.

        See `TrainingLoop.measure` and `measure_generator`.
        """
        accuracies = super().measure(tier)
        if tier != "watch":
            return accuracies
        images = self.dataset.validation.head(self.config.evaluation.watch_images)
        measured = (self.result, self.adversary, images, self.bound, self.config.seed)
        return joined(accuracies, measure_generator(*measured, runner=self.updates.measure))

    def losses_to_choose(self) -> list[LossMean]:
        """See `TrainingLoop.losses_to_choose`."""
        return self.turns.losses_to_choose()

    def loss_means(self) -> list[LossMean]:
        """See `TrainingLoop.loss_means`."""
        return [*super().loss_means(), self.generator_loss]

    def losses(self) -> dict[str, float]:
        """Return also the generator's loss, the cycles so far, and generator turns per cycle since the last report."""
        losses = {**super().losses(), "cycle": float(self.turns.cycles)}
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
            "adversary": self.adversary.state(),
            "generator_drawn": self.generator_minibatches.num_drawn,
            "turns": self.turns.state(),
            "reported": self._reported,
            **({"perturbed": self._perturbed} if self._perturbed else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `TrainingLoop.restore`."""
        super().restore(state)
        self.adversary.restore(state["adversary"])
        self.updates.adopt(self.adversary.optimizer)
        self.generator_minibatches.num_drawn = state["generator_drawn"]
        self.turns.restore(state["turns"])
        self._reported = tuple(state["reported"])
        self._perturbed = [images.to(self.device) for images in state.get("perturbed", [])]
