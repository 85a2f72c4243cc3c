"""Whether a network of a user's own can be trained and attacked: looked at before anything is trained."""

from __future__ import annotations

import copy

import torch
from torch import nn

from trainables.common.tasks import Task
from trainables.config.plugins.registries import explain
from trainables.errors import UserError
from trainables.networks.classifiers import NetworkBuilder, build_seeded

_NUM_IMAGES = 3


def check_network(build: NetworkBuilder, name: str, task: Task) -> None:
    """Check a network on a few random images.

    Args:
        build: returns it.
        name: what to call it in messages.
        task: the shape of the images and the classes.

    Raises:
        UserError: it has no logits of the shape ``(batch, classes)`` in float32, no gradient for its images, changes
            them, or gives something else the second time.
    """
    network = build_seeded(lambda: build(task.image_shape, task.num_classes), 0)
    _check_weights(network, build_seeded(lambda: build(task.image_shape, task.num_classes), 0), name)
    images = torch.rand(_NUM_IMAGES, *task.image_shape, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for is_training in (False, True):
            _check_pass(copy.deepcopy(network).train(is_training), name, task, images)
        _check_repeats(network.eval(), name, images)


def _check_weights(network: nn.Module, again: nn.Module, name: str) -> None:
    weights, others = network.state_dict(), again.state_dict()
    wrong = [key for key, value in weights.items() if value.is_floating_point() and value.dtype != torch.float32]
    if wrong:
        kind = str(weights[wrong[0]].dtype).removeprefix("torch.")
        raise UserError(
            f"{name} has weights in {kind} ({wrong[0]}): leave them in float32; the setting precision chooses how "
            "training computes"
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(f"{name} has no weights to train: return a module with parameters that require gradients")
    different = [key for key in weights if key not in others or not torch.equal(weights[key], others[key])]
    if different or len(weights) != len(others):
        raise UserError(
            f"{name} is not deterministic: built twice with one seed its weights differ "
            f"({(different or ['their number'])[0]}); draw them with torch's random functions alone"
        )


def _check_pass(network: nn.Module, name: str, task: Task, images: torch.Tensor) -> None:
    given = images.clone().requires_grad_()
    expected = (_NUM_IMAGES, task.num_classes)
    try:
        seen = given * 1.0  # an operation in place is possible on this, not on a leaf
        before = seen.detach().clone()
        output = network(seen)
    except Exception as error:
        raise UserError(f"{name} fails on images of the shape {tuple(images.shape)}: {explain(error)}") from error
    if not isinstance(output, torch.Tensor):
        raise UserError(f"{name} must return logits of the shape {expected}, not {type(output).__name__}")
    if tuple(output.shape) != expected:
        raise UserError(
            f"{name} must return logits of the shape {expected}, one for each of the {task.num_classes} classes, for "
            f"{_NUM_IMAGES} images; it returns {tuple(output.shape)}"
        )
    if output.dtype != torch.float32:
        kind = str(output.dtype).removeprefix("torch.")
        raise UserError(f"{name} must return float32, not {kind}: the setting precision chooses how training computes")
    if not torch.equal(seen.detach(), before):
        raise UserError(f"{name} changes its images: its first layer must not work in place")
    if not output.isfinite().all():
        raise UserError(f"{name} returns logits that are NaN or infinite when it is fresh")
    (gradient,) = torch.autograd.grad(output.sum(), given, allow_unused=True) if output.requires_grad else (None,)
    if gradient is None:
        raise UserError(f"{name} gives no gradient for its images, so nothing can attack it: no detach, no no_grad")


@torch.no_grad()
def _check_repeats(network: nn.Module, name: str, images: torch.Tensor) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    first, second = network(images.clone()), network(images.clone())
    if not torch.equal(first, second):
        raise UserError(
            f"{name} is not deterministic: in evaluation mode it gives other logits for equal images; what is random "
            "must depend on self.training, as in torch.nn.Dropout"
        )
    if any(not torch.equal(before[key], value) for key, value in network.state_dict().items()):
        raise UserError(f"{name} changes its state in evaluation mode: it may do so in training mode alone")
