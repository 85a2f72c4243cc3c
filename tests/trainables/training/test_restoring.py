"""A run that goes on from a checkpoint is the run that was never interrupted, to the last bit."""

import pytest

from tests.support.loops import finish, is_same_state, without_seconds
from trainables.storage import checkpoint

# Reports fall into the middle of a turn where that is one epoch or a few minibatches; a random start draws numbers.
GAN_VARIANTS = {
    "epoch turns": {"ratio": {"turn_batches": None, "generator_turns": 2}, "compute": 6.0},
    "adaptive": {
        "ratio": {"kind": "adaptive", "target_generator_loss": 0.14, "max_generator_turns": 5, "turn_batches": 3},
        "compute": 4.0,
    },
    "stepped": {"ratio": {"kind": "stepped", "steps": [1, 3]}},
    "random start, warm-up": {"generator": {"width": 4, "random_start": True, "warmup": 0.8}},
    "image only, strided": {"generator": {"width": 4, "image_gradient": "none", "body": "strided"}},
    "sign, cross-entropy": {"generator": {"width": 4, "image_gradient": "sign", "loss": "cross_entropy"}},
    "recursions with all inputs": {
        "generator": {
            "width": 4,
            "image_gradient": "raw",
            "see_label": True,
            "see_perturbation": True,
            "noise": 2,
            "random_start": True,
            "recursions": 3,
            "recursion_step": 0.4,
            "diversity": 0.1,
            "draws": 2,
            "loss": "margin",
        }
    },
    "pool of SGD generators that start anew": {
        "generator": {
            "width": 4,
            "pool": 2,
            "pool_every": 2,
            "reinitialise_every": 5,
            "optimizer": "sgd",
            "gradient_clip": 0.1,
        },
        "classifier": {"architecture": "mlp", "optimizer": "sgd", "weight_decay": 1e-4, "gradient_clip": 1.0},
    },
    "the same minibatches, residual": {
        "generator": {"width": 4, "body": "residual", "minibatch": "same", "loss": "log_wrongness"},
        "ratio": {"turn_batches": 3},
    },
    "reused images": {"generator": {"width": 4, "minibatch": "reused"}, "ratio": {"turn_batches": 3}},
    "targeted": {"generator": {"width": 4, "goal": "targeted", "target": 3}},
    "source to target": {
        "generator": {"width": 4, "goal": "source_to_target", "source": 7, "target": 3},
        "ratio": {"kind": "adaptive", "target_generator_loss": 0.8, "max_generator_turns": 3},
    },
    "schedules": {
        "classifier": {"architecture": "mlp", "learning_rate": {"kind": "linear", "values": [0.01, 0.0]}},
        "generator": {
            "width": 4,
            "perturbation_bound": {"kind": "linear", "values": [0.0, 0.3], "at": [0.2, 0.7]},
            "learning_rate": {"kind": "stepped", "values": [0.01, 0.001, 0.002]},
        },
        "ratio": {"generator_turns": {"kind": "linear", "values": [1, 4]}},
    },
    "average of the weights": {"classifier": {"architecture": "mlp", "average_decay": 0.9}},
    "saturation penalty": {"generator": {"width": 4, "saturation_penalty": 0.01, "recursions": 2}},
    "no pre-training": {"pretrain": 0.0, "clean_weight": 0.0},
}
RUNS = {
    "average in small_cnn": ("fgsm_retraining", {"classifier": {"architecture": "small_cnn", "average_decay": 0.9}}),
    "pgd, scheduled": ("pgd", {"attack": {"epsilon": {"kind": "stepped", "values": [0.0, 0.1, 0.05]}, "warmup": 0.0}}),
    **{f"gan, {name}": ("gan", changes) for name, changes in GAN_VARIANTS.items()},
}


@pytest.mark.parametrize(("trainable", "changes"), RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("saved_at", [1, 3])
def test_a_restored_run_goes_on_bit_for_bit(trainable, changes, saved_at, loop_of, tmp_path):
    whole = loop_of(trainable, **changes)
    expected = finish(whole)
    assert len(expected) > saved_at

    interrupted = loop_of(trainable, **changes)
    for _ in range(saved_at):
        interrupted.step()
    checkpoint.save(tmp_path, saved_at, interrupted.state())
    restored = loop_of(trainable, **changes)
    restored.restore(checkpoint.load_newest(tmp_path))
    assert is_same_state(restored, interrupted)
    assert without_seconds(finish(restored)) == without_seconds(expected[saved_at:])
    assert is_same_state(restored, whole)
    assert not is_same_state(restored, interrupted)
    assert restored.train_s > interrupted.train_s
