"""AutoAttack standard (Croce and Hein 2020) in its authors' code, the public benchmark; an optional dependency."""

from __future__ import annotations

import contextlib
import io
import time
import warnings

import torch
from torch import nn

from trainables.common.seeds import seed_for
from trainables.common.tasks import Norm
from trainables.data.tensors import Split
from trainables.errors import MissingExtraError, UserError
from trainables.evaluation.accuracy import evaluating, is_right
from trainables.evaluation.masking import IMAGES_AT_ONCE
from trainables.evaluation.tiers import BENCHMARK

_NUM_TARGETS, _MIN_CLASSES = 9, 4


class _Connected(nn.Module):
    """A classifier of whose logits the images have a gradient: 0 behind a threshold, where AutoAttack finds none."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(batch, classes)`` of images ``(batch, C, H, W)``."""
        logits: torch.Tensor = self.classifier(images)
        return logits + 0.0 * images.flatten(1).sum(1, keepdim=True)


def autoattack_accuracy(
    classifier: nn.Module, split: Split, epsilon: float, seed: int, norm: Norm = "linf"
) -> dict[str, float]:
    """Run AutoAttack standard on a classifier.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; run in evaluation mode and left in its own.
        split: the images, all of which are attacked.
        epsilon: radius in pixels of [0, 1].
        seed: of the random starts.
        norm: of the ball.

    Returns:
        The ``accuracy`` in [0, 1] under the attack, and how long it took in ``seconds``.

    Raises:
        MissingExtraError: pyautoattack is not installed.
        UserError: there are fewer than four classes.
    """
    if split.task.num_classes < _MIN_CLASSES:
        raise UserError(
            f"AutoAttack needs {_MIN_CLASSES} classes or more, and these images have {split.task.num_classes}: its "
            "targeted loss compares the four largest logits; leave --autoattack out"
        )
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise MissingExtraError("AutoAttack needs the extra: pip install 'adversarial-tuner[robustness]'") from error
    images, labels = split.batch(torch.arange(len(split), device=split.device))
    started = time.monotonic()
    # It seeds and draws from the global random state, prints, and warns of its own dependencies.
    with (
        evaluating(classifier),
        torch.random.fork_rng(),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        attack = AutoAttack(
            _Connected(classifier),
            norm={"linf": "Linf", "l2": "L2"}[norm],
            eps=epsilon,
            version="standard",
            device=str(images.device),
            seed=seed_for(seed, BENCHMARK.name) % 2**32,
        )
        # They go towards nine wrong labels, and fail where there are fewer.
        num_wrong = split.task.num_classes - 1
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(_NUM_TARGETS, num_wrong)
        right = is_right(classifier, images, labels)
        if right.any():
            adversarial, *_ = attack.run_standard_evaluation(images[right], labels[right], batch_size=IMAGES_AT_ONCE)
            adversarial = torch.where(adversarial.isfinite(), adversarial, images[right])
            right[right.clone()] = is_right(classifier, adversarial, labels[right])
    return {"accuracy": int(right.sum()) / len(split), "seconds": time.monotonic() - started}
