"""Training loops whose updates are CUDA graphs: a prototype, in which the product's own code is captured.

A graph replays the same kernels on the same addresses, so whatever changes from update to update is a tensor on the
device that is filled before: the minibatch, the learning rates, the radius of the attack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from tests.gpu.recipes import BATCH_SIZE
from trainables.config import parse
from trainables.data.tensors import Dataset
from trainables.schedules import value_at
from trainables.training import registry
from trainables.training.compute import ComputeMeter
from trainables.training.gan import GanLoop
from trainables.training.loop import LossMean, TrainingLoop
from trainables.training.minibatches import Minibatches
from trainables.training.recipes import AdversarialLoop, mixed_loss

Result = TypeVar("Result")
_EAGER = 3  # updates of each kind before it is captured: they build optimiser state, handles and workspaces


class DeviceLossMean(LossMean):
    """A `LossMean` whose count is on the device, too, so that a graph can add to it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._added = torch.zeros(2, device=device)

    def add(self, loss: torch.Tensor) -> None:
        self._added[0].add_(loss.detach())
        self._added[1].add_(1.0)

    @property
    def is_empty(self) -> bool:
        return False

    def mean(self) -> float | None:
        total, count = self._added.tolist()
        return total / count if count else None

    def take(self) -> float | None:
        mean = self.mean()
        self._added.zero_()
        return mean


class GraphMeter(ComputeMeter):
    """Meters updates, and runs each as a graph after the first few of its kind."""

    def __init__(self, flops_per_epoch: float, rng: torch.Generator, stream: torch.cuda.Stream) -> None:
        super().__init__(flops_per_epoch)
        self._rng, self._stream = rng, stream
        self._num_eager: dict[str, int] = {}
        self.graphs: dict[str, tuple[torch.cuda.CUDAGraph, Any]] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, kind: str, num_images: int, update: Callable[[], Result]) -> Result:
        if num_images != BATCH_SIZE:  # the last minibatch of an epoch
            return super().run(kind, num_images, update)
        if kind in self.graphs:
            return super().run(kind, num_images, lambda: self._replay(kind))
        self._num_eager[kind] = self._num_eager.get(kind, 0) + 1
        if self._num_eager[kind] <= _EAGER:
            return super().run(kind, num_images, update)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._rng)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            result = update()
        self.graphs[kind] = graph, result
        return super().run(kind, num_images, lambda: self._replay(kind))

    def _replay(self, kind: str) -> Any:
        graph, result = self.graphs[kind]
        graph.replay()
        return result


class _StaticMinibatches(Minibatches):
    """Minibatches that are copied to the same place on the device each time."""

    def at(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = super().at(number)
        if len(labels) < BATCH_SIZE:
            return images, labels
        if not hasattr(self, "_place"):
            self._place = images.clone(), labels.clone()
        self._place[0].copy_(images)
        self._place[1].copy_(labels)
        # Recipes may ask for the gradient of the images, which belongs to one update.
        return self._place[0].detach(), self._place[1]


def _on_device(optimizer: torch.optim.Optimizer, device: torch.device) -> torch.Tensor:
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        group["capturable"] = True
    rate: torch.Tensor = optimizer.param_groups[0]["lr"]
    return rate


def graphed(settings: dict[str, Any], dataset: Dataset) -> TrainingLoop:  # noqa: C901 - one class, made here
    """Return the loop of some settings as one whose updates are graphs, on a stream of its own: its ``stream``."""
    config = parse(settings)
    plain = registry.LOOPS[config.trainable]

    class Graphed(plain):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__(config, dataset)
            self.stream = torch.cuda.Stream(device=self.device)
            self.meter = GraphMeter(self.meter._flops_per_epoch, self.rng, self.stream)
            self.classifier_loss = DeviceLossMean(self.device)
            self._rate = _on_device(self.optimizer, self.device)
            self._radius = torch.zeros((), device=self.device)
            self.minibatches.__class__ = _StaticMinibatches
            if isinstance(self, GanLoop):
                self.generator_loss = DeviceLossMean(self.device)
                self.generator_minibatches.__class__ = _StaticMinibatches
                self._generator_rate = _on_device(self.adversary.optimizer, self.device)
                self.adversary.set_learning_rate = lambda progress: self._generator_rate.fill_(
                    value_at(config.generator.learning_rate, progress)
                )
            self.stream.wait_stream(torch.cuda.current_stream())

        def set_learning_rate(self) -> None:
            super().set_learning_rate()
            group = self.optimizer.param_groups[0]
            if not isinstance(group["lr"], torch.Tensor):
                self._rate.fill_(group["lr"])
                group["lr"] = self._rate

        @property
        def epsilon(self) -> torch.Tensor:
            return self._radius

        @property
        def bound(self) -> torch.Tensor:
            return self._radius

        def train_minibatch(self) -> None:
            if isinstance(self, GanLoop):
                self._radius.fill_(GanLoop.bound.fget(self))  # type: ignore[attr-defined]
            elif isinstance(self, AdversarialLoop):
                self._radius.fill_(AdversarialLoop.epsilon.fget(self))  # type: ignore[attr-defined]
            super().train_minibatch()

        def _train_classifier(self, images: torch.Tensor, labels: torch.Tensor) -> None:
            weight = config.clean_weight

            def update() -> None:
                self.update_classifier(mixed_loss(self.classifier, images, perturbed, labels, weight))

            perturbed = self.meter.run("perturb", len(labels), lambda: self.perturb(images, labels))
            self.meter.run("classifier", len(labels), update)

        def step(self) -> dict[str, float]:
            with torch.cuda.stream(self.stream):
                metrics: dict[str, float] = super().step()
            return metrics

    return Graphed()
