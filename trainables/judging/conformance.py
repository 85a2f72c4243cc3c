"""Whether a network or an attack of others can be used: looked at before anything is trained."""

from __future__ import annotations

import copy

import torch
from torch import nn

from trainables.common.tasks import Task
from trainables.config.plugins.registries import explain
from trainables.errors import UserError
from trainables.evaluation.attack_table import AttackFn, run_others
from trainables.networks.classifiers import LeadingDimensions, NetworkBuilder, build_seeded, mlp

_NUM_IMAGES = 3
_EPSILON = 0.1
_ROUNDING = 1 + 1e-5


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


def check_attack(attack: AttackFn, name: str, task: Task, epsilon: float = _EPSILON) -> None:
    """Check an attack on a small network and a few random images.

    Args:
        attack: the attack.
        name: what to call it in messages.
        task: the shape of the images and the classes.
        epsilon: its radius.

    Raises:
        UserError: it leaves the ball or the box, changes the network, its images or its labels, gives something else
            the second time, or needs random numbers that it was not given.
    """
    network = build_seeded(lambda: LeadingDimensions(mlp(task.image_shape, task.num_classes)), 0).eval()
    images = torch.rand(_NUM_IMAGES, *task.image_shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(_NUM_IMAGES) % task.num_classes
    before = [tensor.clone() for tensor in (images, labels, *network.state_dict().values())]

    def attacked() -> torch.Tensor:
        return run_others(name, attack, network, images, labels, epsilon, rng=torch.Generator().manual_seed(0))

    first = attacked()
    _check_attacked(first, images, name, epsilon)
    if network.training or any(parameter.grad is not None for parameter in network.parameters()):
        raise UserError(
            f"the attack {name} changes the network: leave its mode alone, and take gradients of the images alone, by "
            "torch.autograd.grad"
        )
    if not all(map(torch.equal, before, (images, labels, *network.state_dict().values()))):
        raise UserError(f"the attack {name} changes its images, their labels or the network's weights: work on a copy")
    if not torch.equal(first, attacked()):
        raise UserError(
            f"the attack {name} is not deterministic: run twice with one seed it gives other images; draw random "
            "numbers from the generator `rng` alone"
        )


def _check_attacked(adversarial: torch.Tensor, images: torch.Tensor, name: str, epsilon: float) -> None:
    if adversarial.dtype != torch.float32:
        kind = str(adversarial.dtype).removeprefix("torch.")
        raise UserError(f"the attack {name} must return float32, not {kind}")
    if not adversarial.isfinite().all():
        raise UserError(f"the attack {name} returns pixels that are NaN or infinite")
    if adversarial.min() < 0 or adversarial.max() > 1:
        raise UserError(
            f"the attack {name} returns pixels from {adversarial.min():g} to {adversarial.max():g}: clamp them to "
            "[0, 1]"
        )
    distance = float((adversarial - images).abs().max())
    if distance > epsilon * _ROUNDING:
        raise UserError(f"the attack {name} goes {distance:g} away from an image, with an epsilon of {epsilon:g}")
