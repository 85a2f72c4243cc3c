"""AutoAttack standard (Croce and Hein 2020) in its authors' code, the public benchmark; an optional dependency."""

from __future__ import annotations

import contextlib
import io
import time
import warnings

import torch
from torch import nn

from trainables.common.seeds import seed_for
from trainables.data.tensors import Split
from trainables.errors import MissingExtraError
from trainables.evaluation.accuracy import evaluating, is_right
from trainables.evaluation.masking import IMAGES_AT_ONCE
from trainables.evaluation.tiers import BENCHMARK


def autoattack_accuracy(classifier: nn.Module, split: Split, epsilon: float, seed: int) -> dict[str, float]:
    """Run AutoAttack standard on a classifier.

    Args:
        classifier: maps images ``(batch, C, H, W)`` to logits; run in evaluation mode and left in its own.
        split: the images, all of which are attacked.
        epsilon: L-infinity radius in pixels of [0, 1].
        seed: of the random starts.

    Returns:
        The ``accuracy`` in [0, 1] under the attack, and how long it took in ``seconds``.

    Raises:
        MissingExtraError: pyautoattack is not installed.
    """
    try:
        from pyautoattack import AutoAttack
    except ImportError as error:
        raise MissingExtraError("AutoAttack needs the extra: pip install 'adversarial-tuner[robustness]'") from error
    images, labels = split.batch(torch.arange(len(split), device=split.images.device))
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
            classifier,
            norm="Linf",
            eps=epsilon,
            version="standard",
            device=str(images.device),
            seed=seed_for(seed, BENCHMARK.name) % 2**32,
        )
        right = is_right(classifier, images, labels)
        if right.any():
            adversarial, *_ = attack.run_standard_evaluation(images[right], labels[right], batch_size=IMAGES_AT_ONCE)
            adversarial = torch.where(adversarial.isfinite(), adversarial, images[right])
            right[right.clone()] = is_right(classifier, adversarial, labels[right])
    return {"accuracy": int(right.sum()) / len(split), "seconds": time.monotonic() - started}
