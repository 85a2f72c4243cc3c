"""Tables of what can be named: ours, and those of installed packages, broken ones among them."""

import subprocess
import sys

import pytest
import torch

from search_spaces.configurations import configuration_for, load_space, parse_space
from search_spaces.errors import SpaceError
from tests.support.plugins import installed, write_package
from trainables.common.tasks import CATALOG_TASKS
from trainables.config import CONFIGURATIONS, ClassifierConfig, EvaluationConfig, parse
from trainables.config.plugins.packages import check_packages, is_package, package_digests
from trainables.config.plugins.registries import ALL, ATTACKS, CLASSIFIERS, RECIPES
from trainables.errors import UserError
from trainables.evaluation.attack_table import ATTACKS as FUNCTIONS
from trainables.evaluation.attack_table import further_attacks
from trainables.evaluation.metrics import all_metrics
from trainables.networks.classifiers import build_classifier
from trainables.training import registry
from trainables.training.registry import LOOPS
from tuner.results.terminal import library

POINTS = """\
[adversarial_tuner.classifiers]
twice = outside:twice
broken = module_that_is_not_there:build
raises = outside_raises:build
nothing = outside:nothing
small_cnn = json:loads
Odd/Name = outside:twice
no_name = outside
with_extra = outside:twice [some]
wide = outside:WIDE
bad_settings = outside:BAD_SETTINGS
lost = outside:LOST

[adversarial_tuner.attacks]
shift = outside:shift
move = outside:MOVE
number = outside:NUMBER
compute = outside:shift

[adversarial_tuner.recipes]
function = outside:twice
plain = outside:PLAIN
class_of_none = outside:OF_NONE
other_name = outside:OTHER
no_loop = outside:NO_LOOP
half_loop = outside:HALF_LOOP
good = outside:GOOD

[adversarial_tuner.spaces]
theirs = outside:SPACE
wrong = outside:NUMBER
pgd = outside:SPACE
faulty = outside:FAULTY
"""
MODULE = """\
import enum, typing
import pydantic
from trainables.config import Configured, Recipe, Settings, TrainingConfig

NUMBER = 3
SPACE = "name: theirs\\ntrainable: good\\nbudget: {trials: 2, compute: 1}\\n"
FAULTY = "name: theirs\\ntrainable: god\\nbudget: {trials: 2, compute: 1}\\n"

class Good(TrainingConfig):
    trainable: typing.Literal["good"] = "good"
    deviation: float = 0.5

class NoLoop(TrainingConfig):
    trainable: typing.Literal["no_loop"] = "no_loop"

class HalfLoop(TrainingConfig):
    trainable: typing.Literal["half_loop"] = "half_loop"

def twice(value):
    return 2 * value

def shift(logits_fn, images, labels, epsilon):
    return (images + epsilon).clamp(0, 1)

class WideConfig(Settings):
    width: int = pydantic.Field(default=8, ge=1, le=64)

class MoveConfig(Settings):
    share: float = pydantic.Field(default=0.5, ge=0, le=1)

def build_wide(image_shape, num_classes, width):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, num_classes))

def move(logits_fn, images, labels, epsilon, share):
    return (images + share * epsilon).clamp(0, 1)

WIDE = Configured(WideConfig, "outside:build_wide")
MOVE = Configured(MoveConfig, "outside:move")
BAD_SETTINGS = Configured(dict, "outside:twice")
LOST = Configured(WideConfig, "outside:nothing")
PLAIN = Recipe(dict, "outside:twice")
OF_NONE = Recipe(None, "outside:twice")
OTHER = Recipe(Good, "outside:twice")
NO_LOOP = Recipe(NoLoop, "outside:twice")
HALF_LOOP = Recipe(HalfLoop, "trainables.training.loop:TrainingLoop")
GOOD = Recipe(Good, "trainables.training.recipes:StandardLoop")
"""


@pytest.fixture(autouse=True)
def outsider(tmp_path):
    place = write_package(tmp_path, "outsider", POINTS)
    (place / "outside.py").write_text(MODULE)
    (place / "outside_raises.py").write_text("raise SystemExit('a joke')")
    with installed(place):
        yield place


def test_ours_lead_to_something():
    assert all(registry[name] for registry in ALL for name in registry.ours)
    assert list(CONFIGURATIONS)[: len(RECIPES.ours)] == list(RECIPES.ours)


def test_a_package_adds_names_and_replaces_none_of_ours():
    assert CLASSIFIERS.names()[len(CLASSIFIERS.ours)] == "twice"
    assert CLASSIFIERS["twice"](4) == CLASSIFIERS["with_extra"](4) == 8
    assert CLASSIFIERS["small_cnn"].__module__ == "trainables.networks.classifiers"


@pytest.mark.parametrize(
    ("table", "name", "message"),
    [
        (CLASSIFIERS, "broken", r"broken of outsider 1\.5 cannot be imported .*install what it needs \(module_that"),
        (CLASSIFIERS, "raises", "raises of outsider 1.5 cannot be imported .*SystemExit: a joke"),
        (CLASSIFIERS, "nothing", "AttributeError.*'nothing'; update or remove that package"),
        (CLASSIFIERS, "Odd/Name", "'Odd/Name'|Odd/Name.* a name is 1 to 63 lower-case letters"),
        (CLASSIFIERS, "no_name", "must lead to module:name, not 'outside'"),
        (FUNCTIONS, "number", "must be a function, not a value of the type int"),
        (CONFIGURATIONS, "function", "function of outsider 1.5 must lead to a trainables.config.Recipe"),
        (CONFIGURATIONS, "plain", "has the class dict for its settings: they are a pydantic model made from"),
        (CONFIGURATIONS, "class_of_none", "has a value of the type NoneType for its settings"),
        (CONFIGURATIONS, "other_name", r'needs the field `trainable: Literal\["other_name"\] = "other_name"` in Good'),
        (LOOPS, "no_loop", "must be a class made from trainables.training.loop.TrainingLoop, not a value"),
        (LOOPS, "half_loop", "lacks train_minibatch"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(table, name, message):
    with pytest.raises(UserError, match=message):
        table[name]


def test_the_good_ones_can_be_used():
    assert CONFIGURATIONS["good"]().deviation == 0.5
    assert LOOPS["good"].__name__ == "StandardLoop"
    assert "good" in dict(CONFIGURATIONS.usable())
    assert "function" not in dict(CONFIGURATIONS.usable())
    assert FUNCTIONS["shift"](None, torch.zeros(1, 1, 2, 2), None, 0.25, rng=None).max() == 0.25


def test_a_space_of_a_package_is_launched_by_its_name():
    assert load_space("theirs").trainable == "good"
    assert load_space("pgd").trainable == "pgd"
    with pytest.raises(UserError, match=r"the space wrong of outsider 1\.5 must lead to its text or to the path"):
        load_space("wrong")
    assert "theirs" in [row.values["name"] for row in library.spaces_table().rows]


def test_an_attack_of_a_package_is_a_metric_unless_the_name_is_one_already():
    table = all_metrics()
    assert table["shift"].group == "accuracy"
    assert table["compute"].group == "cost"
    assert list(table).index("pgd") < list(table).index("shift") < list(table).index("robust")


def test_a_name_of_two_packages_is_refused_until_one_of_them_is_gone(tmp_path, outsider):
    other = write_package(tmp_path, "another", "[adversarial_tuner.attacks]\nshift = json:dumps\n")
    with installed(outsider, other), pytest.raises(UserError, match=r"two packages, .* and .*: remove one of them"):
        ATTACKS["shift"]


def test_each_is_a_line_of_the_list_and_none_ends_it():
    lines = "\n".join(library.plugin_lines())
    assert "classifiers: twice, of outsider 1.5" in lines
    assert "classifiers: broken of outsider 1.5 cannot be imported" in lines
    assert "classifiers: small_cnn of outsider 1.5 is not used: classifiers has one of that name already" in lines
    assert "spaces: faulty.yaml:2: trainable: unknown trainable 'god'" in lines
    assert "spaces: pgd of outsider 1.5 is not used: spaces has one of that name already" in lines
    assert "recipes: good, of outsider 1.5" in lines
    assert "recipes: the recipe plain of outsider 1.5 has the class dict" in lines
    assert "recipes: the loop of the recipe half_loop of outsider 1.5" in lines


def test_a_package_is_known_by_its_version_and_its_code(outsider):
    digests = package_digests([CLASSIFIERS.entries["twice"], CLASSIFIERS.entries["mlp"]])
    assert list(digests) == ["outsider 1.5"]
    check_packages({**digests, "net.py": "0" * 64, "my net.py": "0" * 64, "json.decoder": "0" * 64})
    with pytest.raises(UserError, match=r"in version 1\.5, and 1\.6 is needed"):
        check_packages({"outsider 1.6": digests["outsider 1.5"]})
    with pytest.raises(UserError, match=r"the package stranger 1\.0 is not installed here"):
        check_packages({"stranger 1.0": "0" * 64})
    (outsider / "outside.py").write_text(MODULE + "\n")
    with installed(), pytest.raises(UserError, match=r"the code of the package outsider 1\.5 is another"):
        check_packages(digests)


def test_keys_of_packages_are_told_from_files_and_modules():
    assert [name for name in ("net.py", "my net.py", "a.b", "shapes-plugin 0.1.0") if is_package(name)] == [
        "shapes-plugin 0.1.0"
    ]


SPACE_WITH_OPTIONS = """\
name: their
trainable: attack_training
budget: {trials: 1, compute: 1}
evaluation: {attacks: [move], attack_options: {move: {share: 0.25}}}
parameters:
  attack: {name: move, options: {share: {float: [0.1, 0.9]}}}
  classifier: {architecture: wide, options: {width: {int: [4, 16]}}}
"""


class TestSettings:
    def test_of_a_network_reach_its_function(self):
        config = ClassifierConfig(architecture="wide", options={"width": 3})
        assert config.model_dump()["options"] == {"width": 3}
        network = build_classifier(config, CATALOG_TASKS["mnist"])
        assert [len(weight) for weight in network.parameters()] == [3, 3, 10, 10]
        usual = build_classifier(ClassifierConfig(architecture="wide"), CATALOG_TASKS["mnist"])
        assert len(next(usual.parameters())) == 8
        assert "options" not in ClassifierConfig(architecture="wide").model_dump()

    def test_of_an_attack_reach_its_function_in_training_and_in_an_evaluation(self, few_digits):
        evaluation = {"attacks": ["move"], "attack_options": {"move": {"share": 1.0}}}
        assert EvaluationConfig(**evaluation).model_dump()["attack_options"] == {"move": {"share": 1.0}}
        (attack,) = further_attacks(["move"], {}, {"move": {"share": 1.0}})
        images, labels = few_digits.train.batch(torch.arange(4))
        logits = torch.nn.Flatten()
        assert torch.equal(attack.run(logits, images, labels, 0.2, rng=None), (images + 0.2).clamp(0, 1))
        tiny = {"trainable": "attack_training", "dataset": {"name": "digits"}, "batch_size": 16, "compute": 0.1}
        small = {"watch_images": 5, "rank_images": 5, **evaluation}
        run = {**tiny, "evaluation": small, "classifier": {"architecture": "wide", "options": {"width": 4}}}
        reports = [
            registry.build(parse({**run, "attack": {"name": "move", "options": {"share": share}}}), few_digits).step()
            for share in (0.0, 0.0, 1.0)
        ]
        assert reports[0]["move"] <= reports[0]["clean"]
        losses = [report["classifier_loss"] for report in reports]
        assert losses[0] == losses[1] != losses[2]

    @pytest.mark.parametrize(
        ("architecture", "options", "message"),
        [
            (
                "wide",
                {"width": 0},
                "wide does not take these settings: width: input should be greater than .* 1, not 0",
            ),
            ("wide", {"with": 3}, r"with is none of them \(valid: width\)"),
            ("small_cnn", {"width": 3}, "small_cnn has no settings, so width must be left out"),
            ("twice", {"width": 3}, "twice has no settings"),
            ("net.py:build", {"width": 3}, "net.py:build has no settings"),
            ("bad_settings", {"width": 3}, "bad_settings of outsider 1.5 has the class dict for its settings"),
        ],
    )
    def test_that_do_not_fit_are_refused_by_name(self, architecture, options, message):
        with pytest.raises(ValueError, match=message):
            ClassifierConfig(architecture=architecture, options=options)

    def test_of_an_attack_that_do_not_fit_are_refused_by_name(self):
        with pytest.raises(ValueError, match="attack_options has settings of move, which attacks does not name"):
            EvaluationConfig(attack_options={"move": {}})
        with pytest.raises(ValueError, match=r"move does not take these settings: share: .* less than or equal to 1"):
            EvaluationConfig(attacks=["move"], attack_options={"move": {"share": 2}})
        with pytest.raises(ValueError, match="does not go with norm l2"):
            parse({"trainable": "attack_training", "attack": {"name": "move"}, "evaluation": {"norm": "l2"}})
        with pytest.raises(UserError, match=r"lost of outsider 1.5 cannot be imported"):
            CLASSIFIERS.entries["lost"].function()

    def test_vary_in_a_space(self):
        space = parse_space(SPACE_WITH_OPTIONS, "space.yaml")
        settings = space.settings(lambda parameter: parameter.domain.low)
        assert settings["classifier"]["options"] == {"width": 4}
        assert configuration_for(space, settings, 0)["attack"]["options"] == {"share": 0.1}

    @pytest.mark.parametrize(
        ("old", "new", "place"),
        [
            ("{int: [4, 16]}", "{int: [4, 100]}", "parameters.classifier: wide does not take .*width"),
            ("{width:", "{height:", "parameters.classifier: .*height is none of them"),
            ("float: [0.1, 0.9]", "float: [0.1, 9]", "parameters.attack: move does not take .*share"),
            ("move: {share: 0.25}", "move: {share: 25}", "evaluation: move does not take .*share"),
            ("move: {share: 0.25}", "move: {share: [1]}", "evaluation.attack_options"),
        ],
    )
    def test_that_vary_too_far_are_mistakes_with_their_place(self, old, new, place):
        with pytest.raises(SpaceError, match=place):
            parse_space(SPACE_WITH_OPTIONS.replace(old, new), "space.yaml")


def test_a_space_is_checked_without_torch(outsider, tmp_path):
    space = tmp_path / "space.yaml"
    space.write_text(
        "name: their\ntrainable: good\nbudget: {trials: 1, compute: 1}\nevaluation: {attacks: [shift]}\n"
        "objective: {metric: shift}\nparameters: {deviation: {float: [0.1, 0.9]}, classifier: {architecture: twice}}\n"
    )
    code = (
        "import sys; from search_spaces.configurations import load_space; space = load_space(sys.argv[1]); "
        "assert space.objective.metric == 'shift'; assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONPATH": f"{outsider}:{':'.join(sys.path)}"}
    command = [sys.executable, "-c", code, str(space)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
