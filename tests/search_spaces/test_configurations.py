"""Search spaces against the trainables' fields: what is refused, and the configurations that come out."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from search_spaces import Choice, Fixed, FloatRange, IntRange, SpaceError, names, text_of
from search_spaces.configurations import (
    baseline_configurations,
    configuration_for,
    load_space,
    parse_space,
    report_every,
)
from search_spaces.parsing.schedules import KINDS
from search_spaces.parsing.yaml_document import parse as parse_yaml
from search_spaces.sections import Dataset, Evaluation
from trainables.config import CONFIGURATIONS, ClassifierConfig, DatasetConfig, EvaluationConfig, parse
from trainables.config.schedules import Schedule
from trainables.training.published import PUBLISHED

HEAD = "name: x\ntrainable: gan\nbudget: {trials: 4, compute: 2}\n"  # three lines


def parameter(text: str) -> str:
    return f"{HEAD}parameters:\n  {text}\n"


# The text, the line of the mistake, and what its message says.
BAD = [
    (
        HEAD.replace("gan", "gann"),
        2,
        "trainable: unknown trainable 'gann'; did you mean 'gan'? (valid: attack_training, fgsm_r",
    ),
    (HEAD + "baselines: [standart]\n", 4, "baselines[0]: unknown trainable 'standart'; did you mean 'standard'?"),
    (HEAD + "baselines: [wong_2002]\n", 4, "baselines[0]: unknown trainable 'wong_2002'; did you mean 'wong_2020'?"),
    (HEAD + "baselines:\n- {published: wong_2020, width: 3}\n", 5, "baselines[0].width: unknown key 'width'"),
    (HEAD + "baselines:\n- {published: wong_2020, compute: 3}\n", 5, "compute: is the same for all runs of a sweep"),
    (
        parameter("batch_size: 64\nfirst:\n- wong_2020"),
        7,
        "unknown published configuration of gan 'wong_2020' (valid: ",
    ),
    (
        parameter("generator: {loss: cross_entropy}\nfirst:\n- paper_adaptive"),
        7,
        "first[0].generator.loss: must be 'cross_entropy', not 'wrongness'",
    ),
    (HEAD + "baselines:\n- standard\n- {trainable: gan, width: 3}\n", 6, "baselines[1].width: unknown key 'width'"),
    (HEAD + "baselines:\n- {trainable: gan, compute: 3}\n", 5, "compute: is the same for all runs of a sweep: set it"),
    (HEAD + "baselines:\n- {trainable: gan, pretrain: 2}\n", 5, "baselines[0]: pretrain (2) must be below compute (2)"),
    (
        HEAD + "baselines:\n- {trainable: gan, generator: 2}\n",
        5,
        "generator: must be a mapping with keys of these: body",
    ),
    (HEAD + "objective: {metric: robusst}\n", 4, "objective.metric: unknown metric 'robusst'; did you mean 'robust'"),
    (HEAD + "objective: {metric: watch/robust}\n", 4, "objective.metric: unknown metric 'watch/robust'"),
    (
        HEAD + "objective:\n- {metric: compute, mode: min}\n- {metric: robost}\n",
        6,
        "objective[1].metric: unknown metric",
    ),
    (
        HEAD + "objective:\n- {metric: pgd}\n- {metric: pgd}\n",
        6,
        "objective[1].metric: 'pgd' is an objective already",
    ),
    (
        HEAD + "objective:\n- {metric: pgd}\n- {metric: pgd_accuracy}\n",
        6,
        "objective[1].metric: 'pgd_accuracy' is an objective already",
    ),
    (
        HEAD + "constraints:\n  clean: {min: 0.5}\n  clean_accuracy: {min: 0.6}\n",
        6,
        "constraints.clean_accuracy: 'clean_accuracy' is bounded already",
    ),
    (HEAD + "search: {prune_on: {metric: robust}}\n", 4, "must be measured at every report, which 'robust' is not"),
    (HEAD + "search: {prune_on: {metric: compute}}\n", 4, "search.prune_on.metric: unknown metric 'compute'"),
    (parameter("compute: {float: [1, 3]}"), 5, "parameters.compute.float[1]: must not be above budget.compute (2)"),
    (
        parameter("compute: {float: [0, 2]}"),
        5,
        "parameters.compute.float[0]: must be greater than or equal to 0.001, n",
    ),
    (HEAD + "constraints: {clear: {min: 1}}\n", 4, "constraints.clear: unknown metric 'clear'"),
    (
        HEAD + "dataset: {name: mnits}\n",
        4,
        "dataset.name: must be 'mnist', 'fashion_mnist', 'digits', 'cifar10', 'cifar100' or the path of images",
    ),
    (HEAD + "dataset: {validation: 0}\n", 4, "dataset.validation: must be greater than or equal to 1, not 0"),
    (HEAD + "evaluation: {epsilon: 1.5}\n", 4, "evaluation.epsilon: must be less than or equal to 1, not 1.5"),
    (HEAD + "evaluation: {epsilom: 0.5}\n", 4, "evaluation.epsilom: unknown key 'epsilom'; did you mean 'epsilon'?"),
    (parameter("generater: {width: 3}"), 5, "parameters.generater: unknown key 'generater'; did you mean 'generator'?"),
    (parameter("generator: {widht: 3}"), 5, "generator.widht: unknown key 'widht'; did you mean 'width'? (valid: body"),
    (parameter("generator: {width: 0}"), 5, "generator.width: must be greater than or equal to 1, not 0"),
    (parameter("weight_decay: 0.1"), 5, "unknown key 'weight_decay'; did you mean classifier.weight_decay? (valid: au"),
    (
        parameter("width: 3"),
        5,
        "unknown key 'width'; did you mean classifier.width or generator.width? (valid: augment",
    ),
    (parameter("kind: constant"), 5, "unknown key 'kind'; did you mean ratio.kind or "),
    (parameter("generator: {width: [4, 8]}"), 5, "not [4, 8]; a range is {int: [low, high]}"),
    (parameter("classifier: {learning_rate: [0.1, 0.2]}"), 5, "not [0.1, 0.2]; a range is {float: [low, high]}"),
    (parameter("classifier: {optimizer: [adam, sgd]}"), 5, "to choose among values write {choice: [...]}"),
    (parameter("generator: {see_label: [true, false]}"), 5, "see_label: must be true or false, not [True, False]; to"),
    (parameter("generator: {width: 1.0}"), 5, "generator.width: must be a valid integer, not 1.0"),
    (parameter("generator: {width: true}"), 5, "generator.width: must be a valid integer, not true"),
    (parameter("generator: {warmup: '0.5'}"), 5, "generator.warmup: must be a valid number, not '0.5'"),
    (parameter("generator: {width: {int: [0, 9]}}"), 5, "width.int[0]: must be greater than or equal to 1, not 0"),
    (parameter("generator: {width: {float: [1, 9]}}"), 5, "width.float[0]: must be a valid integer, not 1.0"),
    (parameter("generator: {warmup: {float: [0, 2]}}"), 5, "warmup.float[1]: must be less than or equal to 1, not 2.0"),
    (
        parameter("generator: {body: {choice: [strided, tall]}}"),
        5,
        "body.choice[1]: must be 'space_to_depth', 'strided', 'residual' or that of a plug-in",
    ),
    (parameter("generator: {width: {flaot: [1, 2]}}"), 5, "not a mapping with the key 'flaot'; did you mean 'float'?"),
    (parameter("generator: 3"), 5, "parameters.generator: must be a mapping with keys of these: body, width"),
    (parameter("ratio: {steps: [6, 0]}"), 5, "ratio.steps[1]: must be greater than or equal to 1, not 0"),
    (parameter("ratio: {turn_batches: 0}"), 5, "ratio.turn_batches: must be greater than or equal to 1, not 0"),
    (
        parameter("ratio: {choice: {a: {knd: constant}}}"),
        5,
        "ratio.choice.a.knd: unknown key 'knd'; did you mean 'kind'?",
    ),
    (
        parameter("ratio: {choice: {a: {kind: no}}}"),
        5,
        "ratio.choice.a.kind: must be 'constant', 'stepped' or 'adaptive'",
    ),
    (
        parameter("generator: {width: {int: [1, 8], schedule: linear}}"),
        5,
        "width.schedule: width cannot change over the run (what can: classifier.learning_rate, generator.pert",
    ),
    (parameter("generator: {widht: {int: [1, 8], schedule: linear}}"), 5, "unknown key 'widht'; did you mean 'width'?"),
    (parameter("seed: {int: [1, 8], schedule: linear}"), 5, "is the same for all runs of a sweep: set it under search"),
    (
        parameter("ratio: {generator_turns: {float: [1, 8], schedule: linear}}"),
        5,
        "parameters.ratio.generator_turns.float[0]: must be a valid integer, not 1.0",
    ),
    (
        parameter("generator: {perturbation_bound: {choice: [0.1, 1.1], schedule: linear}}"),
        5,
        "parameters.generator.perturbation_bound.choice[1]: must be less than or equal to 1, not 1.1",
    ),
    (
        parameter("classifier: {learning_rate: {float: [-1, 1], schedule: [linear, stepped]}}"),
        5,
        "parameters.classifier.learning_rate.float[0]: must be greater than or equal to 0, not -1.0",
    ),
    (
        parameter("classifier: {learning_rate: {flaot: [1, 2]}}"),
        5,
        "unknown key 'flaot'; did you mean 'float'? (valid: ",
    ),
    (parameter("classifier: {learning_rate: {kind: linear, values: [1]}}"), 5, "linear takes 2 or more values, not 1"),
    (
        parameter("classifier: {learning_rate: {kind: linear, values: [1, -1]}}"),
        5,
        "learning_rate.values[1]: must be gr",
    ),
    (parameter("classifier: {learning_rate: {values: [1, 2]}}"), 5, "classifier.learning_rate: kind is required"),
    (parameter("classifier: {learning_rate: {kind: linear}}"), 5, "classifier.learning_rate: values is required"),
    (
        parameter("classifier: {learning_rate: {kind: {choice: [linear, constant]}, values: [1, 2]}}"),
        5,
        "parameters.classifier.learning_rate: constant takes one value, not 2",
    ),
    (
        parameter("clean_weight: 0.5\nbaselines:\n- {trainable: pgd, attack: {epsilon: {kind: linear, values: [1]}}}"),
        7,
        "baselines[0]: linear takes 2 or more values, not 1",
    ),
    (parameter("generator: {widht: {int: [2, 1]}}"), 5, "generator.widht: unknown key 'widht'; did you mean 'width'?"),
    (
        parameter("compute: 3"),
        5,
        "parameters.compute: is the same for all runs of a sweep: set it under budget.compute",
    ),
    (
        parameter("seed: {int: [1, 9]}"),
        5,
        "parameters.seed: is the same for all runs of a sweep: set it under search.seed",
    ),
    (parameter("evaluation: {epsilon: 0.1}"), 5, "set it under the top-level key evaluation"),
    (parameter("report_every: {float: [1, 2]}"), 5, "report_every: must be fixed"),
    (parameter("pretrain: {float: [1, 2]}"), 5, "parameters.pretrain: pretrain (2) must be below compute (2)"),
    (parameter("pretrain: {choice: [3, 1]}"), 5, "parameters.pretrain: pretrain (3) must be below compute (2)"),
    (parameter("generator: {goal: targeted}"), 5, "parameters.generator: target is missing: goal targeted needs one"),
    (
        parameter("generator: {goal: targeted, target: 10}"),
        5,
        "generator.target: generator.target (10) must be below 10, the number of classes",
    ),
    (
        parameter("generator: {target: {int: [-1, 3]}}"),
        5,
        "generator.target.int[0]: must be greater than or equal to 0",
    ),
    (
        parameter("generator: {goal: {choice: [untargeted, targeted]}, target: 3}"),
        5,
        "target (3) must be left out: goal u",
    ),
    (
        parameter("generator: {goal: source_to_target, source: 3, target: 3}"),
        5,
        "parameters.generator: source and target must be different labels, both are 3",
    ),
    (
        parameter("generator: {goal: source_to_target, source: {int: [0, 9]}, target: {int: [0, 9]}}"),
        5,
        "source and target must be different labels, both are 0",
    ),
    (
        parameter("generator: {goal: source_to_target, source: {choice: [1, 3, 5]}, target: {choice: [4, 3, 6]}}"),
        5,
        "source and target must be different labels, both are 3",
    ),
    (
        f"{parameter('generator:')}    goal: {{choice: [untargeted, source_to_target, targeted]}}\n"
        "    source: {int: [4, 9], when: {goal: source_to_target}}\n"
        "    target: {int: [2, 6], when: {goal: [targeted, source_to_target]}}\n",
        5,
        "source and target must be different labels, both are 4",
    ),
    (
        parameter("generator: {minibatch: {choice: [fresh, same, reused]}}\n  ratio: {turn_batches: {int: [1, 430]}}"),
        5,
        "turn_batches (430) is too long a turn for minibatch reused",
    ),
    (
        parameter("generator: {minibatch: {choice: [reused, fresh]}, draws: {int: [1, 3]}}"),
        5,
        "draws (2) does not go with minibatch reused",
    ),
    (parameter("generator: {diversity: 0.1}"), 5, "parameters.generator: diversity (0.1) needs noise above 0"),
    (
        parameter("generator: {width: 9}\nfirst:\n- {generator: {body: strided}}"),
        7,
        "unknown parameter 'generator.body'",
    ),
]


def test_a_goal_brings_the_labels_that_it_needs():
    space = parse_space(
        parameter("generator:")
        + "    goal: {choice: [source_to_target, untargeted, targeted]}\n"
        + "    target: {int: [0, 4], when: {goal: [targeted, source_to_target]}}\n"
        + "    source: {int: [5, 9], when: {goal: source_to_target}}\n",
        "my.yaml",
    )
    assert [one.name for one in space.parameters] == ["generator.goal", "generator.target", "generator.source"]


def test_a_mistake_in_a_schedule_is_told_once():
    for leaf in ("{float: [-1, 1], schedule: [linear, stepped]}", "{kind: cubic, values: [1, 2]}", "{kind: linear}"):
        with pytest.raises(SpaceError) as caught:
            parse_space(parameter(f"classifier: {{learning_rate: {leaf}}}"), "my.yaml")
        assert len(caught.value.mistakes) == 1, str(caught.value)


@pytest.mark.parametrize(("text", "line", "fragment"), BAD)
def test_what_does_not_fit_the_trainable_is_told_with_its_line(text, line, fragment):
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "my.yaml")
    assert any(told.startswith(f"my.yaml:{line}: ") and fragment in told for told in str(caught.value).split("\n")), (
        str(caught.value)
    )


def test_mistakes_of_grammar_and_of_fields_are_one_list():
    text = (
        "name: X\n"
        "trainable: gan\n"
        "budget: {trials: 1, compute: 2}\n"
        "objective: {metric: accuracy}\n"
        "baselines: [fgsm]\n"
        "parameters:\n"
        "  generator: {width: {int: [9, 1]}, body: tall}\n"
        "  clean_weigth: 0.5\n"
        "  pretrain: 5\n"
        "colour: red\n"
    )
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "my.yaml")
    assert [mistake.line for mistake in caught.value.mistakes] == [1, 4, 5, 7, 7, 8, 9, 10]


def test_what_grammar_and_fields_both_see_is_told_once():
    text = HEAD + "dataset: {nmae: mnist, validation: many}\nevaluation: {epsilon: [0.1]}\n"
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "my.yaml")
    assert len(caught.value.mistakes) == 3, str(caught.value)


def random_value(domain, rng):
    if isinstance(domain, FloatRange):
        return rng.uniform(domain.low, domain.high)
    return rng.randint(domain.low, domain.high) if isinstance(domain, IntRange) else rng.choice(domain.values)


def test_baselines_have_the_size_of_the_network_unless_they_have_another_network():
    text = (
        HEAD
        + "parameters: {classifier: {architecture: wide_resnet_28_10, width: 8, depth: 10}, clean_weight: 0.1}\n"
        + "baselines: [standard, wong_2020, {trainable: standard, name: other, classifier: {width: 16}}]\n"
    )
    found = baseline_configurations(parse_space(text, "my.yaml"))
    sizes = {
        name: tuple(settings["classifier"].get(key) for key in ("architecture", "width", "depth"))
        for name, settings in found.items()
    }
    assert sizes == {
        "standard": ("wide_resnet_28_10", 8, 10),
        "wong_2020": ("small_cnn", None, None),
        "other": ("wide_resnet_28_10", 16, 10),
    }


@pytest.mark.parametrize("name", names())
def test_a_packaged_space_loads_under_its_name_and_gives_valid_configurations(name):
    space = load_space(name)
    assert space.name == name
    rng = random.Random(0)
    for seed in range(20):
        configuration = configuration_for(space, space.settings(lambda one: random_value(one.domain, rng)), seed)
        assert parse(configuration).model_dump(mode="json") == configuration
        assert (configuration["seed"], configuration["compute"]) == (seed, space.budget.compute)
    assert baseline_configurations(space).keys() == {baseline.name for baseline in space.baselines}


def test_the_spaces_beside_the_results_are_right():
    found = sorted((Path(__file__).parents[2] / "docs/results").glob("*.yaml"))
    assert [load_space(str(path)).name for path in found] == ["paper_readings", "reuse"]


@pytest.mark.parametrize("name", names())
def test_every_key_of_a_packaged_space_is_a_field(name):
    """Looks at the text itself, so that no check of the reader is trusted."""
    space = load_space(name)
    data = parse_yaml(text_of(name)[0]).data
    fields = CONFIGURATIONS[space.trainable]().model_dump()
    fields["augmentation"] = {"crop": 0, "flip": False}
    fields["classifier"] |= {"width": None, "depth": None}  # not in a dump that has none
    fields["evaluation"] |= {"fgsm_epsilons": (), "attacks": ()}
    assert data["parameters"].keys() <= fields.keys()
    assert data["dataset"].keys() <= fields["dataset"].keys()
    assert data["evaluation"].keys() <= fields["evaluation"].keys()
    for one in space.parameters:
        inner = fields
        for key in one.place[1:]:
            assert key in inner, one.name
            inner = inner[key]
        assert isinstance(one.domain, Fixed | FloatRange | IntRange | Choice) or isinstance(inner, dict)


def test_the_sections_of_a_space_have_the_fields_and_defaults_of_the_configurations():
    assert Dataset().model_dump() == DatasetConfig().model_dump()
    assert Evaluation().model_dump() == EvaluationConfig().model_dump()


def test_the_paper_is_a_grid_of_its_four_tables():
    space = load_space("paper")
    settings = [space.settings(lambda one, point=point: point[one.name])["ratio"] for point in space.grid()]
    assert [one["kind"] for one in settings] == ["constant", "constant", "stepped", "adaptive"]
    assert all(one["turn_batches"] is None for one in settings), "a turn of the paper is an epoch"


def test_a_baseline_shares_the_network_and_the_cost_and_nothing_else():
    space = parse_space(
        HEAD
        + "dataset: {name: digits, validation: 9}\n"
        + "search: {seed: 5}\n"
        + "parameters: {batch_size: 32, classifier: {architecture: mlp, learning_rate: 0.1}, clean_weight: 0.1}\n"
        + "baselines: [standard, {trainable: fgsm_retraining, name: other, classifier: {architecture: small_cnn}}]\n",
        "my.yaml",
    )
    baselines = baseline_configurations(space)
    assert baselines["standard"]["classifier"] == ClassifierConfig(architecture="mlp").model_dump()
    assert baselines["other"]["classifier"]["architecture"] == "small_cnn"
    assert baselines["other"]["clean_weight"] == 0.5
    for settings in baselines.values():
        assert settings["dataset"] == {"name": "digits", "validation": 9}
        assert (settings["batch_size"], settings["compute"], settings["seed"]) == (32, 2.0, 5)


def test_a_published_baseline_is_as_published_but_for_what_is_changed():
    space = parse_space(
        HEAD
        + "parameters: {batch_size: 32, classifier: {architecture: mlp}}\n"
        + "baselines: [madry_2018, {published: wong_2020, batch_size: 64, attack: {epsilon: 0.1}}]\n",
        "my.yaml",
    )
    baselines = baseline_configurations(space)
    madry, wong = baselines["madry_2018"], baselines["wong_2020"]
    assert (madry["trainable"], madry["batch_size"], madry["compute"]) == ("pgd", 50, 2.0)
    assert madry["classifier"] == ClassifierConfig(**PUBLISHED["madry_2018"].settings["classifier"]).model_dump()
    assert (wong["trainable"], wong["batch_size"]) == ("fgsm_random_start", 64)
    assert wong["attack"] == {"epsilon": 0.1, "warmup": 0.0, "steps": 1, "reach": 1.25, "clipped_start": False}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_configuration_can_be_a_baseline_and_a_configuration_tried_first(name):
    settings = PUBLISHED[name].settings
    text = HEAD.replace("gan", settings["trainable"]) + f"baselines: [{name}]\nfirst: [{name}]\n"
    space = parse_space(text + "parameters: {classifier: {learning_rate: {float: [1.0e-6, 1.0]}}}\n", "my.yaml")
    assert baseline_configurations(space)[name]["trainable"] == settings["trainable"]
    rate = settings.get("classifier", {}).get("learning_rate")
    assert space.first_parameters() == [{} if rate is None else {"classifier.learning_rate": rate}]


@pytest.mark.parametrize(("name", "compute"), [("paper", 60.0), ("defences", 40.0)])
def test_the_points_of_the_paper_are_its_published_configurations(name, compute):
    space = load_space(name)
    points = [
        configuration_for(space, space.settings(lambda one, point=point: point[one.name]), 0) for point in space.grid()
    ]
    shared = {"compute": compute, "evaluation": space.evaluation.model_dump(mode="json")}
    published = [one.settings for name, one in PUBLISHED.items() if name.startswith("paper_")]
    assert points == [{**parse(dict(one)).model_dump(mode="json"), **shared} for one in published]


def test_a_baseline_keeps_its_network_when_the_space_varies_it():
    space = parse_space(
        parameter("classifier: {architecture: {choice: [mlp, madry_cnn]}}") + "baselines: [standard]\n", "my.yaml"
    )
    assert baseline_configurations(space)["standard"]["classifier"]["architecture"] == "small_cnn"


def test_reports_are_as_far_apart_as_the_space_says_or_the_trainable():
    assert report_every(parse_space(HEAD, "my.yaml")) == 1.0
    assert report_every(parse_space(parameter("report_every: 0.25"), "my.yaml")) == 0.25


def test_checking_a_space_loads_nothing_heavy():
    code = (
        "import sys; from search_spaces import configurations; configurations.load_space('quick');"
        "print([name for name in ('torch', 'ray', 'optuna', 'mlflow') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.strip() == "[]"


def test_grammar_and_trainables_know_the_same_kinds_of_schedules():
    assert list(KINDS) == list(get_args(Schedule.model_fields["kind"].annotation))
