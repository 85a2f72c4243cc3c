"""The attacks that can be run: ours by their rows of a tier, and those of others, which are refused if they misbehave.

Adding one of ours is a function in the room `attacks`, its name in `ATTACKS` and a row in `tiers.TIERS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from trainables.attacks import losses
from trainables.attacks.losses import LogitsFn
from trainables.common.tasks import Norm
from trainables.config import metric_of_attack
from trainables.config.plugins import registries
from trainables.config.plugins.options import with_options
from trainables.config.plugins.references import code_reference
from trainables.config.plugins.registries import RAISED, Entry, RegistryView, explain, explain_value
from trainables.config.plugins.user_code import load
from trainables.errors import UserError
from trainables.evaluation.metrics import metric_named
from trainables.evaluation.tiers import TIERS, AttackRow


class AttackFn(Protocol):
    """An attack: from images ``(batch, C, H, W)`` and labels ``(batch,)`` to perturbed images of the same shape."""

    def __call__(  # noqa: D102 - see the class
        self, logits_fn: LogitsFn, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *, rng: torch.Generator
    ) -> torch.Tensor: ...


@dataclass(frozen=True)
class Attack:
    """An attack that is ready to run, under the name that its metric has.

    Attributes:
        name: also that of the attack's metric, see `accuracy_of`.
        run: the attack.
        survivors_only: see `tiers.AttackRow`.
    """

    name: str
    run: AttackFn
    survivors_only: bool = False


def _without_rng(attack: Callable[..., torch.Tensor]) -> AttackFn:
    """Return an attack that takes the random generator of an `AttackFn` and makes no use of it."""

    def run(
        logits_fn: LogitsFn,
        images: torch.Tensor,
        labels: torch.Tensor,
        epsilon: float,
        *,
        rng: torch.Generator,
        **options: Any,
    ) -> torch.Tensor:
        return attack(logits_fn, images, labels, epsilon, **options)

    return run


def _function_of(entry: Entry) -> Callable[..., torch.Tensor]:
    """Return the function of an attack; one without a random generator is given none.

    Raises:
        UserError: the attack is a package's and cannot be used.
    """
    return attack_function(entry.function(), entry.title)


def attack_function(attack: Any, name: str) -> AttackFn:
    """Return a function as an attack that takes a random generator, whether it uses it or not.

    Args:
        attack: the function.
        name: what to call it in messages.

    Raises:
        UserError: it is no function.
    """
    if not callable(attack):
        raise UserError(f"the attack {name} must be a function, not {explain_value(attack)}")
    parameters = inspect.signature(attack).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return attack if takes_any or "rng" in parameters else _without_rng(attack)


ATTACKS = RegistryView(registries.ATTACKS, _function_of)
"""The functions that rows of a tier name; each is an `AttackFn` and takes the options of its rows beside that."""


def named_attack(
    name: str, code: Mapping[str, str], options: Mapping[str, Any] | None = None, norm: Norm = "linf"
) -> AttackFn:
    """Return an attack by its name, with its settings; what is wrong with one of others is told in words.

    Args:
        name: one of ours or of an installed package, or a function of a user's own.
        code: the SHA-256 of each file and module of a user's own.
        options: its settings, if it has any.
        norm: of the ball in which it searches, for one of ours.

    Raises:
        UserError: it cannot be used, or does not take the settings.
    """
    reference = code_reference(name)
    function = ATTACKS[name] if reference is None else attack_function(load(reference, code), name)
    function = with_options(function, registries.ATTACKS, name, options or {})
    if reference is None and name in registries.ATTACKS.ours:
        return function if norm == "linf" else partial(function, norm=norm)
    return partial(run_others, name, function)


def further_attacks(
    names: Sequence[str], code: Mapping[str, str], options: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Attack, ...]:
    """Return the attacks of installed packages and of a user's own that an evaluation names, ready to run.

    Args:
        names: as `trainables.config.EvaluationConfig.attacks` has them.
        code: the SHA-256 of each file and module of a user's own.
        options: settings of attacks by their names.

    Raises:
        UserError: one cannot be used, or has the name of another metric.
    """
    for name in names:
        if code_reference(name) is None and metric_named(name).group != "accuracy":
            raise UserError(f"the attack {name} has the name of another metric: it needs another one")
    return tuple(Attack(metric_of_attack(name), named_attack(name, code, (options or {}).get(name))) for name in names)


def run_others(
    name: str,
    attack: AttackFn,
    logits_fn: LogitsFn,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    *,
    rng: torch.Generator,
) -> torch.Tensor:
    """Run an attack that is none of ours.

    Raises:
        UserError: it fails, or returns something else than images of the same shape.
    """
    try:
        adversarial = attack(logits_fn, images, labels, epsilon, rng=rng)
    except UserError:
        raise
    except RAISED as error:
        raise UserError(f"the attack {name} fails: {explain(error)}") from error
    if not isinstance(adversarial, torch.Tensor) or adversarial.shape != images.shape:
        kind = tuple(adversarial.shape) if isinstance(adversarial, torch.Tensor) else type(adversarial).__name__
        raise UserError(f"the attack {name} must return images of the shape {tuple(images.shape)}, not {kind}")
    return adversarial.detach()


def attacks_of(tier: str, norm: Norm = "linf") -> list[Attack]:
    """Return the attacks of a tier in their order, ready to run.

    Args:
        tier: see `tiers`.
        norm: of the ball in which they search.

    Raises:
        ValueError: a row names a function that is not in `ATTACKS`, or a loss that is not in `losses.LOSSES`.
    """
    return [in_norm(_attack_of(row), norm) for row in TIERS[tier]]


def _attack_of(row: AttackRow) -> Attack:
    if row.attack not in ATTACKS:
        raise ValueError(f"attack {row.name!r} must name one of {', '.join(ATTACKS)}, not {row.attack!r}")
    options = dict(row.options)
    if "loss" in options:
        if options["loss"] not in losses.LOSSES:
            raise ValueError(f"loss of {row.name!r} must be one of {', '.join(losses.LOSSES)}, not {options['loss']!r}")
        options["loss"] = losses.LOSSES[options["loss"]]
    return Attack(row.name, partial(ATTACKS[row.attack], **options), row.survivors_only)


def in_norm(attack: Attack, norm: Norm) -> Attack:
    """Return one of our attacks as it runs in the ball of a norm."""
    run: Callable[..., torch.Tensor] = attack.run
    return attack if norm == "linf" else replace(attack, run=partial(run, norm=norm))
