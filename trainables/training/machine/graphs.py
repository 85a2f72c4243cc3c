"""How updates run: one operation after the other or, on a GPU, as CUDA graphs, which cost the host next to nothing.

A graph replays kernels with the arguments and the addresses that they had when it was captured. So whatever differs
from one update to the next reaches an update as a tensor: its minibatch, and the numbers that `Updates.number` returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

import torch
from torch import nn

from trainables.attacks.losses import Epsilon
from trainables.evaluation.measured import as_called
from trainables.training.machine.evaluations import Evaluations, Measure, evaluations_on, number_on
from trainables.training.machine.reading import Reading

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

_EAGER_UPDATES = 1
"""How many updates of a kind run before it is recorded: they build the state of optimisers, handles and workspaces."""

_MAX_SHAPES = 4
"""How many shapes of minibatches each kind is captured for; each graph keeps memory of its own."""


class Updates:
    """Runs updates as they are called."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @contextmanager
    def active(self) -> Iterator[None]:
        """Return a context in which updates and evaluations are submitted to the device."""
        yield

    def adopt(self, optimizer: torch.optim.Optimizer) -> None:
        """Prepare an optimiser for updates; to be called again when its state was restored."""

    def number(self, name: str, value: float) -> Epsilon:
        """Return a number that changes from update to update in the form in which updates take it."""
        return value

    def run(self, kind: str, update: Callable[..., Result], *tensors: torch.Tensor, is_static: bool = True) -> Result:
        """Return what an update returns; tensors of the result are valid until the next update.

        Args:
            kind: updates of one kind do the same operations on tensors of the same shapes.
            update: called with the tensors.
            tensors: what differs from the last update of that kind.
            is_static: whether updates of this kind never look at the values of tensors to decide what to do.
        """
        return update(*tensors)

    def measure(
        self, kind: Hashable, seed: int, networks: Sequence[nn.Module], function: Measure, *numbers: float
    ) -> torch.Tensor:
        """Return what a function measures of networks in evaluation mode; see `Evaluations.measure`."""
        return as_called(self._device)(kind, seed, networks, function, *numbers)

    def read(self, tensors: Sequence[torch.Tensor]) -> Reading:
        """Return values that the host reads, once they are there."""
        return Reading(tensors)

    def finish(self) -> None:
        """Wait until all that was submitted is done, before the memory that it uses is given back."""

    def forget(self, *kinds: str) -> None:
        """Drop what was captured of some kinds, or of all: they use networks or optimisers that were replaced."""


class Recorder(Protocol):
    """Records an update once, so that it can be repeated."""

    def active(self) -> Any:
        """Return a context in which updates can be recorded and repeated."""
        ...

    def is_active(self) -> bool:
        """Return whether the caller is inside such a context."""
        ...

    def finish(self) -> None:
        """Wait until all that was submitted in such contexts is done."""
        ...

    def record(self, update: Callable[[], Result], rngs: Sequence[torch.Generator]) -> Callable[[], Result]:
        """Return a function that repeats an update, which draws from some random generators."""
        ...


class CudaGraphs:
    """Records updates as CUDA graphs, on a stream of its own."""

    def __init__(self, device: torch.device, priority: int = 0) -> None:
        """Begin on a stream: torch has 32 of each priority, and then gives the same ones again."""
        self._device = device
        self._stream = torch.cuda.Stream(device, priority)
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Recorder`.

        What is inside begins after what was submitted before. What is submitted after it does not wait for it, or runs
        that take turns would wait for one another: results are to be read inside.
        """
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield

    @contextmanager
    def joined(self) -> Iterator[None]:
        """See `EvaluationRecorder`."""
        with self.active():
            yield
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def is_active(self) -> bool:
        """See `Recorder`."""
        return bool(torch.cuda.current_stream(self._device) == self._stream)

    def finish(self) -> None:
        """See `Recorder`."""
        self._stream.synchronize()

    def record(self, update: Callable[[], Result], rngs: Sequence[torch.Generator]) -> Callable[[], Result]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        for rng in rngs:
            graph.register_generator_state(rng)
        # Not torch.cuda.graph: it waits for all that the device does for other runs, and empties their cache of memory.
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")  # other threads may use the device
            try:
                result = update()
            finally:
                graph.capture_end()

        def replay() -> Result:
            graph.replay()
            return result

        return replay


class _Recorded:
    """An update that is repeated on tensors at fixed places."""

    def __init__(self, places: tuple[torch.Tensor, ...], replay: Callable[[], Any]) -> None:
        self._places, self._replay = places, replay

    def __call__(self, tensors: tuple[torch.Tensor, ...]) -> Any:
        for place, tensor in zip(self._places, tensors, strict=True):
            place.copy_(tensor)
        return self._replay()


class RecordedUpdates(Updates):
    """Runs the first updates of each kind as they are called, and then repeats a recording.

    What cannot be recorded goes on as it is called, which the log says once for each kind.
    """

    def __init__(
        self,
        device: torch.device,
        recorder: Recorder,
        rng: torch.Generator,
        evaluations: Evaluations | None = None,
    ) -> None:
        """Begin without recordings.

        Args:
            device: where the updates are computed.
            recorder: records them.
            rng: what the updates of `run` draw from.
            evaluations: measure networks; None measures them as `Updates` does.
        """
        super().__init__(device)
        self._recorder, self._rng, self._evaluations = recorder, rng, evaluations
        self._optimizers: WeakSet[torch.optim.Optimizer] = WeakSet()
        self._numbers: dict[str, torch.Tensor] = {}
        self._num_runs: dict[Hashable, int] = {}
        self._recorded: dict[str, dict[Hashable, _Recorded]] = {}
        self._unrecordable: set[str] = set()

    @contextmanager
    def active(self) -> Iterator[None]:
        """See `Updates`."""
        with self._recorder.active():
            yield

    def adopt(self, optimizer: torch.optim.Optimizer) -> None:
        """See `Updates`."""
        for group in optimizer.param_groups:
            if not isinstance(group["lr"], torch.Tensor):  # one that is there was adopted before
                group["lr"] = number_on(self._device, group["lr"])
        self._optimizers.add(optimizer)

    def number(self, name: str, value: float) -> Epsilon:
        """See `Updates`."""
        if name not in self._numbers:
            self._numbers[name] = number_on(self._device, value)
        return self._numbers[name].fill_(value)

    def run(self, kind: str, update: Callable[..., Result], *tensors: torch.Tensor, is_static: bool = True) -> Result:
        """See `Updates`."""
        return self._run(kind, update, tensors) if is_static else update(*tensors)

    def measure(
        self, kind: Hashable, seed: int, networks: Sequence[nn.Module], function: Measure, *numbers: float
    ) -> torch.Tensor:
        """See `Updates`."""
        if self._evaluations is None or not self._recorder.is_active():
            return super().measure(kind, seed, networks, function, *numbers)
        return self._evaluations.measure(kind, seed, networks, function, *numbers)

    def finish(self) -> None:
        """See `Updates`."""
        self._recorder.finish()

    def forget(self, *kinds: str) -> None:
        """See `Updates`."""
        for kind in kinds or tuple(self._recorded):
            self._recorded.pop(kind, None)
        self._num_runs = {key: num for key, num in self._num_runs.items() if kinds and key[0] not in kinds}  # type: ignore[index]

    def _run(self, kind: str, update: Callable[..., Result], tensors: tuple[torch.Tensor, ...]) -> Result:
        if kind in self._unrecordable or not self._recorder.is_active():
            return update(*tensors)
        recorded = self._recorded.setdefault(kind, {})
        key = (kind, *((tensor.shape, tensor.dtype) for tensor in tensors))
        if key not in recorded:
            num_runs = self._num_runs[key] = self._num_runs.get(key, 0) + 1
            if num_runs <= _EAGER_UPDATES or len(recorded) >= _MAX_SHAPES:
                return update(*tensors)
            if not self._record(kind, key, update, tensors):
                return update(*tensors)
        result: Result = recorded[key](tensors)
        return result

    def _record(self, kind: str, key: Hashable, update: Callable[..., Any], tensors: tuple[torch.Tensor, ...]) -> bool:
        """Record an update without running it; return whether that worked."""
        places = tuple(tensor.detach().clone() for tensor in tensors)
        state = self._rng.get_state()
        try:
            with self._capturable():
                # A recipe may ask for the gradient of its images: that belongs to one update.
                replay = self._recorder.record(lambda: update(*(place.detach() for place in places)), [self._rng])
        except Exception as error:  # whatever a device or a driver cannot do
            why = error.__context__ or error  # the first of two, if the end of the recording failed, too
            _log.warning("the update %r runs without a CUDA graph, several times slower: %s", kind, why)
            self._rng.set_state(state)
            self._unrecordable.add(kind)
            return False
        self._recorded[kind][key] = _Recorded(places, replay)
        return True

    @contextmanager
    def _capturable(self) -> Iterator[None]:
        """Let optimisers be captured; outside they would warn of being able to."""
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups if "capturable" in group]
        for group in groups:
            group["capturable"] = True
        try:
            yield
        finally:
            for group in groups:
                group["capturable"] = False


def updates_on(device: torch.device, rng: torch.Generator, dataset: object) -> Updates:
    """Return how the updates of a run on a dataset that draws from a random generator run on a device."""
    if device.type != "cuda":
        return Updates(device)
    # Before the updates of all runs; and of a priority of its own, so that no run has the same stream.
    evaluations = evaluations_on(dataset, device, lambda: CudaGraphs(device, priority=-1))
    return RecordedUpdates(device, CudaGraphs(device), rng, evaluations)
