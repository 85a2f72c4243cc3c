"""Which architecture the tensors of a state dict belong to, and a classifier made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn

from trainables.common.tasks import Task
from trainables.config.plugins.registries import CLASSIFIERS
from trainables.errors import BundleError, printable
from trainables.networks.classifiers import LeadingDimensions, NetworkBuilder
from trainables.networks.normalization import Normalization, Normalized
from trainables.networks.torch_files import DAMAGE, StoredTensor

Tensors = Mapping[str, StoredTensor]

_MAX_NAMES, _MAX_LETTERS = 8, 100
"""How many tensors a message names, and how much of a name it has."""


@dataclass(frozen=True)
class Fit:
    """How the tensors of a state dict fit an architecture.

    Attributes:
        architecture: its name.
        build: builds it.
        task: the shape of the images and the classes that the architecture is built for.
        prefix: what the state dict has before the architecture's own names.
        tensors: those below the prefix, by their names after it.
        missing: names of the architecture that the state dict lacks, as it would write them.
        unexpected: names of the state dict that the architecture lacks.
        misshapen: sentences on tensors of another shape.
        num_equal: how many tensors have name and shape of the architecture's.
        num_networks: how many prefixes have all of the architecture's tensors below them.
    """

    architecture: str
    build: NetworkBuilder
    task: Task
    prefix: str
    tensors: Tensors
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    num_equal: int
    num_networks: int

    @property
    def num_mismatches(self) -> int:
        """How many tensors are missing, unexpected or of another shape."""
        return len(self.missing) + len(self.unexpected) + len(self.misshapen)


def num_parameters(build: NetworkBuilder, task: Task) -> int:
    """Return how many numbers the weights of an architecture are, built for a task."""
    return sum(shape.numel() for shape in shapes_of(build, task).values())


@cache
def shapes_of(build: NetworkBuilder, task: Task) -> dict[str, torch.Size]:
    """Return the shapes of the weights of an architecture, built for a task, by their names."""
    with torch.device("meta"):
        network = build(task.image_shape, task.num_classes)
        return {name: tensor.shape for name, tensor in network.state_dict().items()}


def closest_fit(candidates: Iterable[Tensors], architectures: Mapping[str, NetworkBuilder], task: Task) -> Fit:
    """Return the best fit of any candidate to any architecture: that of most tensors of equal name and shape.

    Args:
        candidates: the state dict, perhaps read in several ways; of equal fits the first one counts.
        architectures: what builds them, by their names.
        task: the shape of the images and the classes.
    """
    fits = [_fit(tensors, name, build, task) for tensors in candidates for name, build in architectures.items()]
    return max(fits, key=lambda fit: (fit.num_equal, -fit.num_mismatches))


def _fit(tensors: Tensors, architecture: str, build: NetworkBuilder, task: Task) -> Fit:
    expected = shapes_of(build, task)
    named, equal = Counter[str](), Counter[str]()
    for name, tensor in tensors.items():
        for prefix, shape in _prefixes(name, expected):
            named[prefix] += 1
            equal[prefix] += tensor.shape == tuple(shape)
    best = max(named, key=lambda prefix: (equal[prefix], named[prefix], -len(prefix)), default="")
    given = {name.removeprefix(best): tensor for name, tensor in tensors.items() if name.startswith(best)}
    others = [name for name in tensors if not (name.startswith(best) and name.removeprefix(best) in expected)]
    misshapen = [
        f"{best[:_MAX_LETTERS]}{name} has the shape {given[name].shape} in place of {tuple(shape)}"
        for name, shape in expected.items()
        if name in given and given[name].shape != tuple(shape)
    ]
    return Fit(
        architecture,
        build,
        task,
        best,
        given,
        missing=tuple(f"{best}{name}" for name in expected if name not in given),
        unexpected=tuple(others),
        misshapen=tuple(misshapen),
        num_equal=equal[best],
        num_networks=sum(count == len(expected) for count in equal.values()),
    )


def _prefixes(name: str, expected: Mapping[str, torch.Size]) -> Iterator[tuple[str, torch.Size]]:
    """Yield what stands before each of the expected names that a name ends with, and that one's shape."""
    for end, shape in expected.items():
        if name == end or name.endswith(f".{end}"):
            yield name.removesuffix(end), shape


def check_fit(fit: Fit, source: str, *, is_chosen: bool) -> None:
    """Check that a state dict is the architecture's.

    Args:
        fit: of the state dict.
        source: where it comes from, for messages.
        is_chosen: whether the architecture was asked for, and not found as the nearest one.

    Raises:
        BundleError: it is not; says which tensors are missing, unexpected or of another shape.
    """
    if fit.num_networks > 1:
        raise BundleError(f"{source} holds {fit.num_networks} networks that fit {fit.architecture}: save one of them")
    if not fit.num_mismatches:
        return
    if not fit.num_equal and not is_chosen:
        names = _listed(fit.unexpected or tuple(fit.tensors))
        all_of_them = ", ".join(CLASSIFIERS.ours)
        raise BundleError(f"{source} fits no architecture ({all_of_them}), no name and shape is of theirs: {names}")
    named = {"missing": fit.missing, "unexpected": fit.unexpected}
    mismatches = [f"{what} {_listed(names)}" for what, names in named.items() if names]
    mismatches += map(printable, fit.misshapen)
    nearest = "" if is_chosen else ", the nearest one"
    raise BundleError(f"{source} does not fit the architecture {fit.architecture}{nearest}: {'; '.join(mismatches)}")


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return printable(", ".join(name[:_MAX_LETTERS] for name in names[:_MAX_NAMES])) + more


def _shown(name: str) -> str:
    return printable(name[:_MAX_LETTERS])


def build_classifier_of(fit: Fit, source: str, normalization: Normalization | None = None) -> nn.Module:
    """Return the classifier of an architecture with a state dict's tensors, which fit it.

    Args:
        fit: of the state dict, without mismatches.
        source: where it comes from, for messages.
        normalization: that the classifier applies to its images.

    Raises:
        BundleError: a tensor is damaged, holds no real numbers, or one that is not finite.
    """
    network = fit.build(fit.task.image_shape, fit.task.num_classes)
    names = shapes_of(fit.build, fit.task)
    expected = network.state_dict()
    weights = {name: _load(fit.tensors[name], f"{fit.prefix}{name}", source, expected[name].dtype) for name in names}
    network.load_state_dict(weights)
    return LeadingDimensions(Normalized(network, normalization) if normalization else network)


def _load(tensor: StoredTensor, name: str, source: str, dtype: torch.dtype) -> torch.Tensor:
    is_count = not dtype.is_floating_point and tensor.dtype == dtype  # such as how many minibatches were normalised
    if tensor.dtype is None or not (tensor.dtype.is_floating_point or is_count):
        raise BundleError(
            f"{source}: {printable(name[-_MAX_LETTERS:])} holds no floating-point numbers of a usual type"
        )
    try:
        values = tensor.load() if is_count else tensor.load().float()
    except DAMAGE as error:
        raise BundleError(f"{source}: {_shown(name)} is damaged: {printable(str(error))}") from error
    check_finite({name: values}, source)
    return values


def check_finite(tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Check that weights are finite.

    Args:
        tensors: by name.
        source: where they come from, for the message.

    Raises:
        BundleError: one has a value that is NaN or infinite; says which, and of how many.
    """
    for name, tensor in tensors.items():
        if num_bad := int((~tensor.isfinite()).sum()):
            raise BundleError(
                f"{source}: {num_bad:,} of the {tensor.numel():,} values of {_shown(name)} are NaN or infinite: "
                "training diverged before it was saved; take an earlier checkpoint"
            )
