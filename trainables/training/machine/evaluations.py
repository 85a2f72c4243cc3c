"""CUDA graphs of evaluations, which all runs of a process on one dataset share.

An evaluation reads a run's weights and nothing else of it. So it is recorded once for each structure of networks, on
networks of its own, into which the weights of one run after the other are copied. To record it for every run would
cost the host as much as to evaluate operation by operation, and the strongest one runs only once in a run.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import nn

Measure = Callable[..., torch.Tensor]
"""From networks, a random generator and some numbers to a tensor: see `Evaluations.measure`."""

_log = logging.getLogger(__name__)

_EAGER_EVALUATIONS = 1
"""How many evaluations of a kind run before it is recorded: they build handles and workspaces, and load kernels."""


class EvaluationRecorder(Protocol):
    """Records evaluations, on a stream that nothing else uses."""

    def joined(self) -> Any:
        """Return a context that begins after what was submitted before it; what is submitted after it, waits for it."""
        ...

    def record(self, update: Callable[[], torch.Tensor], rngs: Sequence[torch.Generator]) -> Callable[[], torch.Tensor]:
        """Return a function that repeats an evaluation, which draws from some random generators."""
        ...


class Evaluations:
    """Evaluations of networks of any structure, on the device one after the other, before the updates of all runs."""

    def __init__(self, device: torch.device, recorder: EvaluationRecorder) -> None:
        self._device, self._recorder = device, recorder
        self._networks: dict[Hashable, list[nn.Module]] = {}
        self._rngs: dict[Hashable, torch.Generator] = {}
        self._numbers: dict[Hashable, list[torch.Tensor]] = {}
        self._num_runs: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, Callable[[], torch.Tensor]] = {}
        self._unrecordable: set[Hashable] = set()

    def measure(
        self, kind: Hashable, seed: int, networks: Sequence[nn.Module], function: Measure, *numbers: float
    ) -> torch.Tensor:
        """Return what a function measures of networks.

        Args:
            kind: functions of one kind do the same operations, whatever the numbers and the networks' weights.
            seed: of the random generator.
            networks: of them, parameters and buffers are copied.
            function: called with networks, a random generator, and the numbers as tensors.
            numbers: what may differ from the last call of that kind.
        """
        structure = tuple(_structure(network) for network in networks)
        key = (kind, structure, _number_formats())
        with self._recorder.joined():
            ours = self._load(structure, networks)
            rng = self._rngs.setdefault(key, torch.Generator(device=self._device)).manual_seed(seed)
            places = self._numbers.setdefault(key, [number_on(self._device, number) for number in numbers])
            for place, number in zip(places, numbers, strict=True):
                place.fill_(number)
            return self._run(key, lambda: function(ours, rng, *places), rng)

    def _load(self, structure: Hashable, networks: Sequence[nn.Module]) -> list[nn.Module]:
        """Return networks of that structure, which are always the same, with the weights of those given."""
        if structure not in self._networks:
            self._networks[structure] = [copy.deepcopy(network).requires_grad_(False).eval() for network in networks]
        ours = self._networks[structure]
        with torch.no_grad():
            for place, network in zip(ours, networks, strict=True):
                for to, value in zip(_tensors(place), _tensors(network), strict=True):
                    to.copy_(value)
        return ours

    def _run(self, key: Hashable, function: Callable[[], torch.Tensor], rng: torch.Generator) -> torch.Tensor:
        if key not in self._recorded:
            num_runs = self._num_runs[key] = self._num_runs.get(key, 0) + 1
            if num_runs <= _EAGER_EVALUATIONS or key in self._unrecordable or not self._record(key, function, rng):
                return function()
        return self._recorded[key]().clone()  # the next evaluation overwrites it

    def _record(self, key: Hashable, function: Callable[[], torch.Tensor], rng: torch.Generator) -> bool:
        state = rng.get_state()
        try:
            self._recorded[key] = self._recorder.record(function, [rng])
        except Exception as error:  # whatever a device or a driver cannot do
            _log.warning(
                "an evaluation runs without a CUDA graph, several times slower: %s", error.__context__ or error
            )
            rng.set_state(state)
            self._unrecordable.add(key)
            return False
        return True


def number_on(device: torch.device, value: float) -> torch.Tensor:
    """Return a number as a tensor on a device, to be changed in place."""
    # Fused optimisers read float32 on a GPU; on a CPU float64 rounds like the number itself. To fill does not wait.
    return torch.full((), value, dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)


def _tensors(network: nn.Module) -> list[torch.Tensor]:
    return [*network.parameters(), *network.buffers()]


def _structure(network: nn.Module) -> Hashable:
    """Return what networks have in common for which the same operations are done."""
    shapes = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in _tensors(network))
    return type(network), repr(network), shapes


def _number_formats() -> Hashable:
    """Return what decides which kernels a graph has."""
    cudnn = torch.backends.cudnn
    return torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark


_of_dataset: WeakKeyDictionary[object, Evaluations] = WeakKeyDictionary()


def evaluations_on(
    dataset: object, device: torch.device, new_recorder: Callable[[], EvaluationRecorder]
) -> Evaluations:
    """Return the evaluations that all runs of this process on a dataset share."""
    if dataset not in _of_dataset:
        _of_dataset[dataset] = Evaluations(device, new_recorder())
    return _of_dataset[dataset]
