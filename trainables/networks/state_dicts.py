"""Classifiers of other authors: a state dict wherever it lies in a file, under whatever prefix, normalised or not.

Of the file only the tensors of the network are read, so it costs what the architecture needs. A classifier can start
from such a file, perhaps for other classes; a sweep keeps it beside its code, and settings have its SHA-256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables.common.tasks import ImageShape, Task
from trainables.config import ClassifierConfig
from trainables.config.plugins.references import code_reference, weights_name
from trainables.config.plugins.registries import CLASSIFIERS
from trainables.errors import BundleError, UserError, printable
from trainables.networks.classifiers import NetworkBuilder, build_classifier, network_builder
from trainables.networks.matching import Fit, Tensors, build_classifier_of, check_fit, closest_fit, shapes_of
from trainables.networks.normalization import Normalization, find_saved_normalization
from trainables.networks.pickles import Unread
from trainables.networks.torch_files import DAMAGE, HOW_TO_SAVE, StoredTensor, read_content

_USUAL_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "classifier", "weights")
_ACCURACY = {"acc", "acc1", "accuracy", "top1"}
_QUALIFIERS = {"best", "clean", "eval", "final", "nat", "natural", "standard", "test", "val", "valid", "validation"}
_MAX_LETTERS = 100
_MAX_PLACES, _MAX_NAMES = 20, 10_000
"""How many mappings are looked at, and how many names in each: bounds the time that a hostile file can cost."""


_MOST_CLASSES = 25_000
_files: dict[str, Path] = {}  # where this process finds files of weights, by their SHA-256


@dataclass(frozen=True)
class ClassifierFile:
    """A classifier that a file holds.

    Attributes:
        classifier: maps images ``(..., C, H, W)`` in [0, 1] to logits.
        normalization: that it applies to its images; None for none.
        notes: sentences that say how the file was understood.
        claimed_accuracy: without an attack, in [0, 1], if the file states one.
    """

    classifier: nn.Module
    normalization: Normalization | None = None
    notes: tuple[str, ...] = ()
    claimed_accuracy: float | None = None


def read_classifier_file(
    path: Path,
    task: Task,
    architecture: str | None = None,
    normalization: Normalization | None = None,
    code: Mapping[str, str] | None = None,
) -> ClassifierFile:
    """Return the classifier in a file of ``torch.save`` or safetensors: a state dict, or a checkpoint that has one.

    Args:
        path: the file; no code in it is run.
        task: the shape of the images and the classes.
        architecture: its name, or a function of a user's own; by default the one of ours that fits.
        normalization: that images had in training; by default the one that the file holds, or none.
        code: the SHA-256 of each file and module of a user's own.

    Raises:
        BundleError: the file has no state dict, or one that fits no architecture or is not finite; says which tensors.
        UserError: there is no such architecture, or the file holds another normalisation.
    """
    if architecture is not None and architecture not in CLASSIFIERS and code_reference(architecture) is None:
        raise BundleError(f"there is no architecture {architecture!r}: {', '.join(CLASSIFIERS)}")
    names = [architecture] if architecture else list(CLASSIFIERS.ours)
    architectures = {name: network_builder(name, code or {}) for name in names}
    content = read_content(path)
    place, tensors, fit = best_place(path, content, architectures, task)
    saved = saved_normalization(path, tensors)
    if saved and normalization and saved != normalization:
        raise UserError(f"{path} holds a normalisation with {saved}: leave out --mean and --std ({normalization})")
    normalization = saved or normalization
    check_fit(fit, str(path), is_chosen=architecture is not None)
    classifier = build_classifier_of(fit, str(path), normalization)
    return ClassifierFile(
        classifier,
        normalization,
        tuple(map(printable, _notes(place, fit, normalization, is_saved=saved is not None))),
        _claimed_accuracy(content),
    )


def best_place(
    path: Path, content: Any, architectures: Mapping[str, NetworkBuilder], task: Task
) -> tuple[str, Tensors, Fit]:
    """Return the key, the tensors and the fit of the mapping of tensors that fits best; usual keys come first."""
    if isinstance(content, Unread):
        raise _whole_model(path, content)
    places = dict(islice(_places(content), _MAX_PLACES))
    if not places:
        values = content.values() if isinstance(content, dict) else ()
        if model := next((value for value in values if isinstance(value, Unread)), None):
            raise _whole_model(path, model)
        raise BundleError(f"{path} holds no state dict: it must be a mapping of names to tensors; {HOW_TO_SAVE}")
    usual = {key: rank for rank, key in enumerate(_USUAL_KEYS)}
    order = sorted(places, key=lambda key: usual.get(key.rsplit(".", 1)[-1], len(usual)))
    fits = {key: closest_fit(_readings(places[key]), architectures, task) for key in order}
    best = max(order, key=lambda key: fits[key].num_equal)
    return best, places[best], fits[best]


def _whole_model(path: Path, model: Unread) -> BundleError:
    name = printable(model.name[:_MAX_LETTERS])
    if model.name.startswith("torch._utils._rebuild"):  # of quantised, sparse and other rare tensors
        return BundleError(f"{path} holds tensors of a kind that is not read ({name}): {HOW_TO_SAVE}, made dense")
    return BundleError(f"{path} holds a whole model (an object of {name}); {HOW_TO_SAVE}")


def _places(content: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, Tensors]]:
    """Yield every mapping of names to tensors in a checkpoint, by the keys that lead to it."""
    if not isinstance(content, dict):
        return
    named = ((name, value) for name, value in content.items() if isinstance(name, str))
    tensors = {name: value for name, value in islice(named, _MAX_NAMES) if isinstance(value, StoredTensor)}
    if tensors:
        yield key, tensors
    for name, value in islice(content.items(), _MAX_PLACES) if depth < 2 else ():
        if isinstance(name, str):
            yield from _places(value, f"{key}.{name}" if key else name, depth + 1)


def _readings(tensors: Tensors) -> Iterator[Tensors]:
    """Yield the tensors of a network without its saved normalisation, which may have shifted all layers by one."""
    pair = find_saved_normalization(tensors)
    network = {name: tensor for name, tensor in tensors.items() if pair is None or name not in pair}
    yield network
    if pair and (first := re.fullmatch(r"((?:.*\.)?)0\.[^.]+", pair[0])):
        yield {_earlier(name, first[1]): tensor for name, tensor in network.items()}


def _earlier(name: str, sequence: str) -> str:
    """Return the name of a layer's tensor if the layer stood one place earlier in a sequence of layers."""
    number, dot, rest = name.removeprefix(sequence).partition(".")
    is_layer = name.startswith(sequence) and number.isdecimal() and len(number) < 9 and number != "0"
    return f"{sequence}{int(number) - 1}{dot}{rest}" if is_layer else name


def saved_normalization(path: Path, tensors: Tensors) -> Normalization | None:
    """Return the normalisation of images that a state dict holds; None if it holds none.

    Raises:
        BundleError: it is none of one number each, or damaged.
    """
    pair = find_saved_normalization(tensors)
    if pair is None:
        return None
    names = printable(" and ".join(name[:_MAX_LETTERS] for name in pair))
    if any(len(shape) > 4 or set(shape) - {1} for shape in (tensors[name].shape for name in pair)):
        raise BundleError(f"{path}: {names} must be one number each, for images of one channel")
    try:
        mean, std = (float(tensors[name].load()) for name in pair)
        return Normalization(mean, std)
    except UserError as error:
        raise BundleError(f"{path}: the saved normalisation ({names}) cannot be used: {error}") from error
    except DAMAGE as error:
        raise BundleError(f"{path}: {names} are damaged: {printable(str(error))}") from error


def _notes(place: str, fit: Fit, normalization: Normalization | None, *, is_saved: bool) -> Iterator[str]:
    if place:
        yield f"the weights are those under the key {place[:_MAX_LETTERS]!r}"
    if fit.prefix not in ("", "body."):  # the latter is ours
        yield f"the names of the tensors are read without their prefix {fit.prefix[:_MAX_LETTERS]!r}"
    yield f"the architecture is {fit.architecture}"
    if normalization:
        yield f"images are normalised with {normalization}, {'which the file holds' if is_saved else 'as asked for'}"


def _claimed_accuracy(content: Any) -> float | None:
    """Return the accuracy in [0, 1] that a checkpoint states beside its weights, by a key such as ``test_acc``."""
    if not isinstance(content, dict):
        return None
    inner = [value for value in content.values() if isinstance(value, dict)][:_MAX_PLACES]
    for mapping in (content, *inner):
        for key, value in mapping.items():
            if isinstance(key, str) and _names_accuracy(key) and (number := _number(value)) is not None:
                return number if number <= 1 else number / 100
    return None


def _names_accuracy(key: str) -> bool:
    words = set(re.split(r"[^a-z0-9]+", key.lower()))
    return bool(words & _ACCURACY) and words <= _ACCURACY | _QUALIFIERS


def _number(value: Any) -> float | None:
    if isinstance(value, StoredTensor) and value.shape in ((), (1,)):
        try:
            value = float(value.load())
        except DAMAGE:
            return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value <= 100 else None


@dataclass(frozen=True)
class StartWeights:
    """The weights that a file gives to a network.

    Attributes:
        weights: by the names of the network's own, without those of a last layer for other classes.
        fresh: names of the weights that the file does not give, of the last layer.
        num_classes: that the file's network has.
    """

    weights: dict[str, torch.Tensor]
    fresh: tuple[str, ...]
    num_classes: int

    def sentence(self, name: str, task: Task) -> str:
        """Return in words what is taken over from a file, and what is not.

        Args:
            name: of the file.
            task: that the network is to be trained for.
        """
        if not self.fresh:
            return f"{name}: every weight of the classifier starts from it"
        return (
            f"{name}: the classifier starts from it, but for its last layer ({', '.join(self.fresh)}): it is made "
            f"anew, because the file has {self.num_classes} classes and the images have {task.num_classes}"
        )


def provide_weights(path: Path) -> str:
    """Let this process start classifiers from a file; return its SHA-256.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    _files[digest] = path
    return digest


def read_start(path: Path, architecture: str, build: NetworkBuilder, task: Task) -> StartWeights:
    """Return the weights that a file gives to a network.

    Args:
        path: of a file of ``torch.save`` or safetensors; no code in it is run.
        architecture: the network's name, for messages.
        build: returns it.
        task: the shape of the images and the classes.

    Raises:
        BundleError: the file holds no state dict, or one that does not fit; the message says which weights.
        UserError: it holds a normalisation that the network has not.
    """
    content = read_content(path)
    _, tensors, fit = best_place(path, content, {architecture: build}, task)
    last = _last_layer(build, task)
    num_classes = _num_classes_in(fit, build, task)
    if num_classes != task.num_classes:

        def build_theirs(image_shape: ImageShape, _: int) -> nn.Module:
            return build(image_shape, num_classes)

        _, tensors, fit = best_place(path, content, {architecture: build_theirs}, task)
    if normalization := saved_normalization(path, tensors):
        raise UserError(
            f"{path} holds a normalisation of the images ({normalization}), which {architecture} has not: start a "
            "network of your own from it, which has that layer"
        )
    check_fit(fit, str(path), is_chosen=True)
    weights = build_classifier_of(fit, str(path)).state_dict()
    fresh = last if num_classes != task.num_classes else ()
    body = {name.removeprefix("body."): value for name, value in weights.items()}
    return StartWeights({name: body[name] for name in body if name not in fresh}, fresh, num_classes)


def start_classifier(
    classifier: nn.Module, config: ClassifierConfig, task: Task, code: Mapping[str, str]
) -> StartWeights | None:
    """Give a fresh classifier the weights that its configuration starts from, if there are any.

    Args:
        classifier: that `build_classifier` returns for the configuration.
        config: of the classifier.
        task: the shape of the images and the classes.
        code: the SHA-256 of each file of a user's own, as the settings of a run have them.

    Raises:
        UserError: the file is not here, is another one, or does not fit.
    """
    if config.start is None:
        return None
    name = weights_name(config.start)
    digest = code.get(name, "")
    if digest not in _files:
        raise UserError(
            f"{config.start}, which the classifier starts from (SHA-256 {digest[:12] or 'not known'}), is not here: it "
            "lies in the sweep's folder, or where the settings name it"
        )
    build = network_builder(config.architecture, code, config.network_options)
    found = read_start(_files[digest], config.architecture, build, task)
    own = classifier.state_dict()
    classifier.load_state_dict(own | {f"body.{key}": value for key, value in found.weights.items()})
    return found


def sentence_on_start(config: ClassifierConfig, task: Task, code: Mapping[str, str]) -> str:
    """Return in words what a classifier takes over from the file that it starts from; arguments: `start_classifier`.

    Raises:
        UserError: see `start_classifier`.
    """
    found = start_classifier(build_classifier(config, task, code=code), config, task, code)
    return found.sentence(weights_name(config.start or ""), task) if found else ""


def _last_layer(build: NetworkBuilder, task: Task) -> tuple[str, ...]:
    """Return the names of the weights whose shape depends on the number of classes."""
    more = shapes_of(build, replace(task, classes=(*task.classes, "one more")))
    return tuple(name for name, shape in shapes_of(build, task).items() if shape != more[name])


def _num_classes_in(fit: Fit, build: NetworkBuilder, task: Task) -> int:
    """Return for how many classes the tensors of a file were trained; that of the task if they do not say it."""
    ours, more = shapes_of(build, task), shapes_of(build, replace(task, classes=(*task.classes, "one more")))
    found = {
        there
        for name in _last_layer(build, task)
        if name in fit.tensors and len(fit.tensors[name].shape) == len(ours[name])
        for there, here, changed in zip(fit.tensors[name].shape, ours[name], more[name], strict=True)
        if here != changed
    }
    is_possible = len(found) == 1 and 1 <= min(found) <= _MOST_CLASSES
    return found.pop() if is_possible else task.num_classes
