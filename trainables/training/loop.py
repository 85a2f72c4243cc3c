"""The training loop that all recipes share: minibatches until the next report, then an evaluation.

A recipe is a subclass that trains on one minibatch. `state` and `restore` hold all that changes: on a CPU a restored
loop continues exactly as an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import nn

from trainables.attacks.losses import cross_entropy
from trainables.common.seeds import seed_for
from trainables.config import TrainingConfig
from trainables.config.schedules import learning_rate_factor, value_at
from trainables.data.tensors import Dataset
from trainables.evaluation.accuracy import measure
from trainables.evaluation.attack_table import Attack, further_attacks
from trainables.evaluation.epsilon_curve import measure_fgsm
from trainables.evaluation.measured import Measured, joined
from trainables.networks.classifiers import build_classifier
from trainables.networks.state_dicts import start_classifier
from trainables.training.averaging import WeightAverage
from trainables.training.compute import ComputeMeter, standard_flops_per_image
from trainables.training.machine.graphs import updates_on
from trainables.training.machine.reading import Reading
from trainables.training.machine.runtime import keep_freed_memory, training_passes
from trainables.training.minibatches import Minibatches
from trainables.training.optimizers import build_optimizer, descend, set_learning_rate, state_of


class DivergedError(ArithmeticError):
    """A loss or a weight is no longer finite, so nothing more can be learned."""


class LossMean:
    """Mean of a loss over minibatches, kept on the device so that nothing waits for it until it is read."""

    def __init__(self) -> None:
        self._sum: torch.Tensor | float = 0.0
        self._count = 0

    def add(self, loss: torch.Tensor) -> None:
        """Add the loss of a minibatch, a scalar."""
        self._sum = self._sum + loss.detach()
        self._count += 1

    @property
    def is_empty(self) -> bool:
        """Whether no loss was added since the last `take`."""
        return not self._count

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The sum on the device, if a loss was added; see `fetched`."""
        return [self._sum] if isinstance(self._sum, torch.Tensor) else []

    def fetched(self, values: Sequence[torch.Tensor]) -> None:
        """Take over what `tensors` returned, on the host, so that nothing waits for the device."""
        for value in values:
            self._sum = value

    def mean(self) -> float | None:
        """Return the mean of the losses added since the last `take`, None if there were none."""
        return float(self._sum) / self._count if self._count else None

    def take(self) -> float | None:
        """Return what `mean` returns, and start again."""
        mean = self.mean()
        self._sum, self._count = 0.0, 0
        return mean

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint; see `restore`."""
        return {"sum": self._sum, "count": self._count}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._sum, self._count = state["sum"], state["count"]


class TrainingLoop(ABC):
    """One training run of one configuration, from report to report."""

    def __init__(self, config: TrainingConfig, dataset: Dataset) -> None:
        """Build the networks with weights drawn from the configuration's seed.

        Args:
            config: the run's configuration.
            dataset: what it names; the networks are put on its device.

        Raises:
            PrecisionError: the device does not compute in the configuration's precision.
        """
        keep_freed_memory()
        self.config = config
        self.dataset = dataset
        self.device = device = dataset.train.device
        training_passes(config.precision, device)  # raises before any work is done
        settings, task = config.classifier, dataset.task
        seed = seed_for(config.seed, "classifier")
        self.classifier = build_classifier(settings, task, seed, config.code)
        start_classifier(self.classifier, settings, task, config.code)
        self.classifier.to(device)
        self.optimizer = build_optimizer(
            self.classifier.parameters(),
            settings.optimizer,
            value_at(settings.learning_rate, 0.0),
            settings.weight_decay,
        )
        self.average: WeightAverage | None = None
        if settings.average_decay is not None:
            self.average = WeightAverage(self.classifier, settings.average_decay)
        order = seed_for(config.seed, "order")
        self.minibatches = Minibatches(dataset.train, config.batch_size, order, config.augmentation)
        self.rng = torch.Generator(device=device).manual_seed(seed_for(config.seed, "attack"))
        self.updates = updates_on(device, self.rng, dataset)
        self.updates.adopt(self.optimizer)
        flops_per_image = standard_flops_per_image(self.classifier, dataset.task.image_shape)
        self.meter = ComputeMeter(flops_per_image * len(dataset.train))
        self.classifier_loss = LossMean()
        self.num_reports = 0
        self.train_s = 0.0
        self.evaluation_s = 0.0

    @abstractmethod
    def train_minibatch(self) -> None:
        """Train on one minibatch and add its cost to the meter."""

    @property
    def result(self) -> nn.Module:
        """The classifier that is evaluated and exported: the average of the weights, if there is one."""
        return self.classifier if self.average is None else self.average.network

    @property
    def progress(self) -> float:
        """Share of the configuration's compute that is spent, in [0, 1]."""
        return min(self.meter.compute / self.config.compute, 1.0)

    @property
    def done(self) -> bool:
        """Whether the compute is spent."""
        return self.meter.compute >= self.config.compute

    def step(self) -> dict[str, float]:
        """Train until the next report is due, evaluate, and return the metrics.

        Returns:
            Accuracies by the tier ``watch``, and at the end also by ``rank`` (see `evaluate`), losses (see `losses`),
            ``step`` (the number of the report), ``compute`` (in epochs of standard training), ``train_s`` and
            ``evaluation_s`` (seconds so far).

        Raises:
            DivergedError: a loss or a weight is not finite.
        """
        report = self.advance()
        with self.updates.active():
            while True:
                try:
                    reading = next(report)
                except StopIteration as end:
                    metrics: dict[str, float] = end.value
                    return metrics
                if reading is not None:
                    reading.wait()

    def advance(self) -> Generator[Reading | None, None, dict[str, float]]:
        """Do what `step` does in parts, and return what it returns.

        Parts are run inside ``updates.active()``, so that several runs can share a device in turns.

        Yields:
            None after an update, or values that the next part reads: until they are ready it only yields them again.
        """
        started = time.monotonic()
        report_at = min((self.num_reports + 1) * self.config.report_every, self.config.compute)
        while self.meter.compute < report_at:
            yield from self._fetch(self.losses_to_choose())
            self.set_learning_rate()
            with training_passes(self.config.precision, self.device):
                self.train_minibatch()
            yield None
        self.num_reports += 1
        (is_finite,) = yield from self._fetch(self.loss_means(), self._weights_are_finite())
        losses = self.losses()
        self._check_finite(losses, bool(is_finite))
        trained = time.monotonic()
        accuracies = yield from self._read(self.measure("watch"))
        if self.done:
            accuracies |= yield from self._read(self.measure("rank"))
        self.train_s += trained - started
        self.evaluation_s += time.monotonic() - trained
        seconds = {"train_s": self.train_s, "evaluation_s": self.evaluation_s}
        return {**accuracies, **losses, "step": self.num_reports, "compute": self.meter.compute, **seconds}

    def _fetch(
        self, means: Sequence[LossMean], *others: torch.Tensor
    ) -> Generator[Reading, None, tuple[torch.Tensor, ...]]:
        """Fetch losses from the device, and return the values of other tensors on the host."""
        counts = [len(mean.tensors) for mean in means]
        tensors = [*(tensor for mean in means for tensor in mean.tensors), *others]
        if not tensors:
            return ()
        values = yield from self._values(tensors)
        for mean, count in zip(means, counts, strict=True):
            mean.fetched(values[:count])
            values = values[count:]
        return values

    def _read(self, measured: Measured) -> Generator[Reading, None, dict[str, float]]:
        values = yield from self._values(measured.tensors)
        return measured.metrics(values)

    def _values(self, tensors: Sequence[torch.Tensor]) -> Generator[Reading, None, tuple[torch.Tensor, ...]]:
        reading = self.updates.read(tensors)
        while not reading.is_ready():
            yield reading
        return reading.values()

    def losses_to_choose(self) -> list[LossMean]:
        """Return the losses whose means decide what the next minibatch trains."""
        return []

    def loss_means(self) -> list[LossMean]:
        """Return the means that `losses` takes."""
        return [self.classifier_loss]

    def set_learning_rate(self) -> None:
        """Set the classifier's learning rate to that of the present progress."""
        settings = self.config.classifier
        rate = value_at(settings.learning_rate, self.progress) * learning_rate_factor(settings.schedule, self.progress)
        set_learning_rate(self.optimizer, rate)

    def _weights_are_finite(self) -> torch.Tensor:
        # The last loss was measured before the last update, whose effect shows only in the weights.
        return torch.nn.utils.parameters_to_vector(self.classifier.parameters()).isfinite().all()

    def _check_finite(self, losses: dict[str, float], weights_are_finite: bool) -> None:
        wrong = [f"{name} is {loss}" for name, loss in losses.items() if not math.isfinite(loss)]
        if not weights_are_finite:
            wrong.append("the classifier's weights are not finite")
        if wrong:
            raise DivergedError(f"{' and '.join(wrong)} after {self.meter.compute:.2f} epochs of compute")

    def losses(self) -> dict[str, float]:
        """Return the mean losses since the last report, and what else a recipe reports; see `LossMean.take`."""
        mean = self.classifier_loss.take()
        return {} if mean is None else {"classifier_loss": mean}

    def evaluate(self, tier: str) -> dict[str, float]:
        """Return the accuracies in [0, 1] of a tier; see `measure`."""
        return self.measure(tier).read()

    def measure(self, tier: str) -> Measured:
        """Measure the accuracies in [0, 1] of a tier, ``watch`` or ``rank``, on the first validation images.

        The configuration says on how many. See `trainables.evaluation.accuracy.measure`.
        """
        settings = self.config.evaluation
        num_images = settings.rank_images if tier == "rank" else settings.watch_images
        images = self.dataset.validation.head(num_images)
        measured = measure(
            self.result,
            images,
            epsilon=settings.epsilon,
            tier=tier,
            seed=self.config.seed,
            runner=self.updates.measure,
            further=self._further_attacks() if tier == "rank" else (),
            norm=settings.norm,
        )
        if tier == "rank" or not settings.fgsm_epsilons:
            return measured
        radii, runner = settings.fgsm_epsilons, self.updates.measure
        return joined(measured, measure_fgsm(self.result, images, radii, runner, settings.norm))

    def _further_attacks(self) -> tuple[Attack, ...]:
        settings = self.config.evaluation
        return further_attacks(settings.attacks, self.config.code, settings.attack_options)

    def train_clean_minibatch(self) -> None:
        """Train the classifier on one clean minibatch."""
        images, labels = self.minibatches.next_minibatch()
        self.run_update(
            "clean",
            lambda images, labels: self.descend(cross_entropy(self.classifier(images), labels).mean()),
            images,
            labels,
        )

    def run_update(self, kind: str, update: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> None:
        """Run an update of the classifier, and add its cost to the meter and its loss to the mean.

        Args:
            kind: see `Updates.run`.
            update: called with the tensors, returns the loss.
            tensors: what differs from the last update of that kind; the last of them are the labels.
        """
        loss = self.meter.run(kind, len(tensors[-1]), lambda: self.updates.run(kind, update, *tensors))
        self.classifier_loss.add(loss)
        if self.average is not None:
            self.average.update(self.classifier)

    def descend(self, loss: torch.Tensor) -> torch.Tensor:
        """Take one optimiser step on a loss, a scalar, and return it."""
        descend(self.optimizer, loss, self.config.classifier.gradient_clip)
        return loss.detach()

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint; see `restore`."""
        average = {} if self.average is None else {"average": self.average.state()}
        return average | {
            "classifier": self.classifier.state_dict(),
            "optimizer": state_of(self.optimizer),
            "drawn": self.minibatches.num_drawn,
            "rng": self.rng.get_state(),
            "meter": self.meter.state(),
            "num_reports": self.num_reports,
            "train_s": self.train_s,
            "evaluation_s": self.evaluation_s,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.classifier.load_state_dict(state["classifier"])
        if self.average is not None:
            self.average.restore(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates.forget()  # an optimiser has other tensors now
        self.updates.adopt(self.optimizer)
        self.minibatches.num_drawn = state["drawn"]
        self.rng.set_state(state["rng"])
        self.meter.restore(state["meter"])
        self.num_reports = state["num_reports"]
        self.train_s = state["train_s"]
        self.evaluation_s = state["evaluation_s"]
