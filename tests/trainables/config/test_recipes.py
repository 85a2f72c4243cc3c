"""Configurations: strict, bounded, immutable, and light to import."""

import json
import subprocess
import sys

import pytest
from pydantic import ValidationError

from trainables.config import CONFIGURATIONS, GeneratorConfig, parse


def with_setting(trainable, path, value):
    """Return settings with one value at a dotted path."""
    settings = inner = {"trainable": trainable}
    *sections, name = path.split(".")
    for section in sections:
        inner = inner.setdefault(section, {})
    inner[name] = value
    return settings


@pytest.mark.parametrize("trainable", CONFIGURATIONS)
class TestEveryRecipe:
    def test_defaults_are_valid(self, trainable):
        config = parse({"trainable": trainable})
        assert type(config) is CONFIGURATIONS[trainable]
        assert config == CONFIGURATIONS[trainable]()

    def test_survives_json(self, trainable):
        config = parse({"trainable": trainable, "seed": 3, "classifier": {"learning_rate": 0.1 + 0.2}})
        assert parse(json.loads(json.dumps(config.model_dump(mode="json")))) == config

    def test_cannot_be_changed(self, trainable):
        config = parse({"trainable": trainable})
        with pytest.raises(ValidationError, match="frozen"):
            config.seed = 1
        with pytest.raises(ValidationError, match="frozen"):
            config.classifier.learning_rate = 1.0

    @pytest.mark.parametrize("section", ["", "dataset.", "evaluation.", "classifier."])
    def test_unknown_keys_are_errors(self, trainable, section):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            parse(with_setting(trainable, f"{section}learning_speed", 1))

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("compute", 0),
            ("report_every", 0),
            ("batch_size", 0),
            ("seed", -1),
            ("seed", 2**63),
            ("compute", float("inf")),
            ("compute", float("nan")),
            ("dataset.name", "svhn"),
            ("dataset.validation", 0),
            ("evaluation.epsilon", 0),
            ("evaluation.epsilon", 1.01),
            ("evaluation.watch_images", 0),
            ("evaluation.rank_images", 0),
            ("classifier.learning_rate", 0),
            ("classifier.architecture", "resnet"),
            ("classifier.optimizer", "lion"),
            ("classifier.weight_decay", -1),
            ("classifier.gradient_clip", 0),
            ("precision", "float16"),
        ],
    )
    def test_values_out_of_bounds_are_errors(self, trainable, path, value):
        with pytest.raises(ValidationError) as error:
            parse(with_setting(trainable, path, value))
        (mistake,) = error.value.errors()
        assert mistake["loc"] == (trainable, *path.split("."))


@pytest.mark.parametrize(
    ("trainable", "path", "value"),
    [
        ("fgsm_retraining", "clean_weight", -0.1),
        ("fgsm_retraining", "clean_weight", 1.1),
        ("fgsm_retraining", "attack.epsilon", 0),
        ("fgsm_retraining", "attack.steps", 7),
        ("gan", "clean_weight", 1.1),
        ("gan", "pretrain", -1),
        ("gan", "generator.width", 0),
        ("gan", "generator.width", 513),
        ("gan", "generator.body", "unet"),
        ("gan", "generator.image_gradient", "edges"),
        ("gan", "generator.output_scale", 0),
        ("gan", "generator.noise", -1),
        ("gan", "generator.see_label", "some"),
        ("gan", "generator.recursions", 0),
        ("gan", "generator.recursion_step", 0),
        ("gan", "generator.recursion_step", 1.1),
        ("gan", "generator.goal", "random"),
        ("gan", "generator.pool", -1),
        ("gan", "generator.pool_every", 0),
        ("gan", "generator.reinitialise_every", 0),
        ("gan", "generator.draws", 0),
        ("gan", "generator.diversity", -1),
        ("gan", "generator.minibatch", "old"),
        ("gan", "generator.gradient_clip", 0),
        ("gan", "generator.optimizer", "lion"),
        ("gan", "generator.perturbation_bound", 0),
        ("gan", "generator.perturbation_bound", 1.1),
        ("gan", "generator.warmup", 1.1),
        ("gan", "generator.learning_rate", 0),
        ("gan", "generator.loss", "hinge"),
        ("gan", "generator.size", 1),
        ("gan", "ratio.kind", "random"),
        ("gan", "ratio.generator_turns", 0),
        ("gan", "ratio.steps", []),
        ("gan", "ratio.steps", [6, 0]),
        ("gan", "ratio.target_generator_loss", 0),
        ("gan", "ratio.max_generator_turns", 0),
        ("gan", "ratio.turn_batches", 0),
        ("gan", "ratio.generator_turns", 1.5),
        ("gan", "classifier.learning_rate.kind", "cubic"),
        ("gan", "classifier.learning_rate.steps", 3),
        ("standard", "clean_weight", 0.5),
        ("standard", "generator", {}),
    ],
)
def test_a_recipe_checks_its_own_settings(trainable, path, value):
    with pytest.raises(ValidationError):
        parse(with_setting(trainable, path, value))


def test_a_turn_of_one_epoch_is_null():
    assert parse({"trainable": "gan", "ratio": {"turn_batches": None}}).ratio.turn_batches is None


@pytest.mark.parametrize(("pretrain", "compute", "is_valid"), [(0.9, 1, True), (1, 1, False), (2, 1, False)])
def test_pretraining_leaves_room_for_the_loop(pretrain, compute, is_valid):
    settings = {"trainable": "gan", "pretrain": pretrain, "compute": compute}
    if is_valid:
        assert parse(settings).pretrain == pretrain
    else:
        with pytest.raises(ValidationError, match=rf"pretrain \({pretrain}\) must be below compute \({compute}\)"):
            parse(settings)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        ({"goal": "targeted"}, "target is missing: goal targeted needs one, a label from 0 on"),
        ({"goal": "source_to_target", "target": 1}, "source is missing: goal source_to_target needs one"),
        ({"goal": "source_to_target", "source": 1}, "target is missing: goal source_to_target needs one"),
        ({"goal": "source_to_target", "source": 4, "target": 4}, "must be different labels, both are 4"),
        ({"target": 0}, r"target \(0\) must be left out: goal untargeted has none"),
        ({"goal": "targeted", "source": 1, "target": 2}, r"source \(1\) must be left out: goal targeted has none"),
        ({"goal": "targeted", "target": 10}, "must be below 10, the number of classes"),
        ({"goal": "targeted", "target": -1}, "greater than or equal to 0"),
        ({"diversity": 0.1}, r"diversity \(0.1\) needs noise above 0"),
        ({"minibatch": "reused", "pool": 2}, r"pool \(2\) does not go with minibatch reused"),
        ({"minibatch": "reused", "draws": 3}, r"draws \(3\) does not go with minibatch reused"),
    ],
)
def test_settings_of_the_generator_must_fit_together(generator, message):
    with pytest.raises(ValidationError, match=message):
        parse({"trainable": "gan", "generator": generator})


@pytest.mark.parametrize(
    "generator",
    [
        {"goal": "targeted", "target": 0},
        {"goal": "source_to_target", "source": 0, "target": 9},
        {"noise": 1, "diversity": 0.1},
        {"minibatch": "reused"},
    ],
)
def test_settings_of_the_generator_that_fit_together(generator):
    assert parse({"trainable": "gan", "generator": generator}).generator == GeneratorConfig(**generator)


@pytest.mark.parametrize(
    ("turn_batches", "message"),
    [
        (None, "an epoch is too long a turn for minibatch reused"),
        (51, r"turn_batches \(51\) is too long a turn"),
        (50, None),
    ],
)
def test_the_images_of_a_long_turn_are_not_kept(turn_batches, message):
    settings = {"trainable": "gan", "generator": {"minibatch": "reused"}, "ratio": {"turn_batches": turn_batches}}
    if message is None:
        assert parse(settings).generator.minibatch == "reused"
    else:
        with pytest.raises(ValidationError, match=message):
            parse(settings)


@pytest.mark.parametrize("settings", [{}, {"trainable": "magic"}, [], None])
def test_what_names_no_recipe_is_an_error(settings):
    with pytest.raises(ValidationError):
        parse(settings)


def test_all_mistakes_come_at_once():
    with pytest.raises(ValidationError) as error:
        parse({"trainable": "gan", "compute": -1, "epochs": 3, "generator": {"width": 0, "depth": 2}})
    assert {mistake["loc"][1:] for mistake in error.value.errors()} == {
        ("compute",),
        ("epochs",),
        ("generator", "width"),
        ("generator", "depth"),
    }


def test_importing_it_loads_no_torch():
    code = "import sys, trainables.config; sys.exit(sorted({'torch', 'ray', 'numpy'} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
