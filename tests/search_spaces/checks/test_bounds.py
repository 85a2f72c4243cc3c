"""Every number and every list of a space has bounds, and what goes beyond them is refused with its line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from search_spaces import SpaceError
from search_spaces.configurations import parse_space
from search_spaces.schema import Space
from search_spaces.sections import Budget, Confirm, Resources, Search
from trainables.config import CONFIGURATIONS, NUM_TRAINING_IMAGES
from trainables.data.files import num_training_images

HEAD = "name: x\ntrainable: gan\nbudget: {trials: 4, compute: 2}\n"  # three lines
BASES = [*CONFIGURATIONS.values(), Budget, Confirm, Resources, Search]


def unbounded(schema: dict, place: str = "") -> Iterator[str]:
    """Yield where a JSON schema takes numbers without two bounds, or lists without an upper bound."""
    kind = schema.get("type")
    low, high = schema.keys() & {"minimum", "exclusiveMinimum"}, schema.keys() & {"maximum", "exclusiveMaximum"}
    is_open = (kind in ("number", "integer") and not (low and high)) or (kind == "array" and "maxItems" not in schema)
    if is_open and not schema.keys() & {"enum", "const"}:
        yield place
    for key, inner in schema.items():
        for name, part in inner.items() if isinstance(inner, dict) and key in ("properties", "$defs") else ():
            yield from unbounded(part, f"{place}.{name}")
        for part in inner if isinstance(inner, list) and key in ("anyOf", "oneOf", "allOf") else ():
            yield from unbounded(part, place)
        if key == "items":
            yield from unbounded(inner, f"{place}[]")


@pytest.mark.parametrize("model", BASES, ids=lambda model: model.__name__)
def test_every_number_and_every_list_of_a_space_has_bounds(model):
    # The seconds of a budget are checked as text; its target by the metric that it is of.
    expected = {".time", ".trial_timeout", ".target"} if model is Budget else set()
    assert set(unbounded(model.model_json_schema())) == expected


def test_the_lists_of_a_space_have_bounds():
    for name in ("objectives", "baselines", "first"):
        assert any(getattr(bound, "max_length", None) for bound in Space.model_fields[name].metadata), name


def test_settings_and_data_agree_on_how_many_images_there_are():
    for name, number in NUM_TRAINING_IMAGES.items():
        assert num_training_images(name) == number


def parameter(text: str) -> str:
    return f"{HEAD}parameters:\n  {text}\n"


GRID = "name: x\ntrainable: gan\nbudget: {compute: 2}\nsearch: {sampler: grid}\n"
# The text, the line of the mistake, and what its message says.
REFUSED = [
    (
        HEAD + "dataset: {name: digits, validation: 1437}\n",
        4,
        "dataset: validation (1437) must be below the 1437",
    ),
    (HEAD + "dataset: {name: mnist, validation: 60000}\n", 4, "dataset: validation (60000) must be below the 60000"),
    (
        HEAD + "dataset: {validation: 70000}\n",
        4,
        "dataset: validation (70000) must be below the 60000",
    ),
    (HEAD + "evaluation: {watch_images: 1000000000}\n", 4, "evaluation.watch_images: must be less than or equal to"),
    (GRID + "seeds: 1000000000\n", 5, "seeds: must be less than or equal to 1000"),
    (
        GRID + "seeds: 1000\nparameters: {batch_size: {int: [1, 99]}}\n",
        5,
        "seeds: 99 points with 1000 seeds are more than 10,000 trials",
    ),
    (HEAD + "resources: {cpu: 1.0e-9}\n", 4, "resources.cpu: must be greater than or equal to 0.01, not 1e-09"),
    (HEAD + "resources: {gpu: 1.5}\n", 4, "resources.gpu: must be auto, 0, or a share of one GPU from 0.01 to 1, not"),
    (
        HEAD + "resources: {gpu: 2}\n",
        4,
        "resources.gpu: must be at most 1, not 2: one run trains on one GPU. A",
    ),
    (HEAD + "resources: {pack: 0}\n", 4, "resources.pack: must be greater than or equal to 1, not 0"),
    (HEAD + "resources: {pack: 257}\n", 4, "resources.pack: must be less than or equal to 256, not 257"),
    (HEAD + "resources: {pack: 2.5}\n", 4, "resources.pack: must be a valid integer, not 2.5"),
    (HEAD + "resources: {pack: all}\n", 4, "resources.pack: must be auto, or a whole number from 1 on, not 'all'"),
    (HEAD + "resources: {pack: null}\n", 4, "resources.pack: must be auto, or a whole number from 1 on, not"),
    (HEAD + "resources: {pack: true}\n", 4, "resources.pack: must be a valid integer, not true"),
    (HEAD + "resources: {gpu: .inf}\n", 4, "resources.gpu: must be a finite number"),
    (HEAD + "resources: {gpu: 1.0e+9}\n", 4, "resources.gpu: must be less than or equal to 10000"),
    (HEAD + "resources: {gpu: all}\n", 4, "resources.gpu: must be auto, 0, or a share of one GPU, like 0.25 or 1, not"),
    (HEAD + "resources: {gpu: null}\n", 4, "resources.gpu: must be auto, 0, or a share of one GPU"),
    (HEAD + "confirm: {seeds: 1000000}\n", 4, "confirm.seeds: must be less than or equal to 1000, not 1000000"),
    (HEAD.replace("trials: 4", "trials: 1e18"), 3, "budget.trials: must be a valid integer, not 1e+18"),
    (HEAD.replace("trials: 4", "trials: 4, time: 999999999h"), 3, "budget.time: must be from 0.01s to 87600h"),
    (HEAD.replace("trials: 4", "trials: 4, target: 97"), 3, "budget.target: robust lies from 0 to 1, this is"),
    (
        HEAD.replace("compute: 2", "compute: 1e300"),
        3,
        "budget.compute: must be less than or equal to 1e+06, not 1e",
    ),
    (HEAD + "constraints: {clean: {min: 97}}\n", 4, "constraints.clean.min: clean lies fr"),
    (HEAD + f"description: {'x' * 20_000}\n", 4, "description: must have at most 10,000 characters"),
    (parameter("ratio: {steps: {}}"), 5, "parameters.ratio.steps: must be a list, not {}"),
    (parameter("classifier: {learning_rate: {}}"), 5, "parameters.classifier.learning_rate.kind: is required"),
    (parameter("classifier: {learning_rate: {kind: linear}}"), 5, "classifier.learning_rate: values is required"),
    (
        parameter("classifier: {learning_rate: {kind: {choice: [linear, stepped]}}}"),
        5,
        "classifier.learning_rate: values is required",
    ),
    (
        parameter("classifier: {choice: {a: {}, b: {learning_rate: {kind: linear}}}}"),
        5,
        "parameters.classifier.learning_rate: values is required",
    ),
    (HEAD + "baselines:\n- {trainable: gan, ratio: {steps: {}}}\n", 5, "baselines[0].ratio.steps: must be a list, not"),
    (HEAD + "baselines:\n- {trainable: gan, classifier: {learning_rate: {}}}\n", 5, "learning_rate.kind: is required"),
    (parameter(f"ratio: {{steps: {[1] * 300}}}"), 5, "parameters.ratio.steps: has more than 256 entries"),
    (parameter("ratio: {steps: []}"), 5, "parameters.ratio.steps: must not be empty"),
    (
        parameter("report_every: 0.001").replace("compute: 2", "compute: 200"),
        5,
        "report_every (0.001) is too small for compute (200): a run has at most 100,000 reports",
    ),
    (parameter("generator: {noise: {int: [0, 4611686018427387904]}}"), 5, "generator.noise.int[1]: must be less than"),
    (parameter(f"batch_size: {{choice: {list(range(1, 1200))}}}"), 5, "choice: has 1,199 entries, and at most 1,000"),
    (HEAD + "first:\n" + "- {}\n" * 1200, 4, "first: has 1,200 configurations, and at most 1,000 are taken"),
    (HEAD + "baselines:\n" + "- pgd\n" * 200, 4, "baselines: has 200 baselines, and at most 100 are taken"),
    (HEAD + "objective:\n" + "- {metric: compute}\n" * 20, 4, "objective: has more than 16 entries"),
    (
        HEAD + "parameters:\n" + "".join(f"  a{number}: 1\n" for number in range(300)),
        4,
        "parameters: has more than 256 settings, and no recipe has so many",
    ),
]


@pytest.mark.parametrize(("text", "line", "fragment"), REFUSED)
def test_what_cannot_be_trained_is_refused_with_its_line(text, line, fragment):
    with pytest.raises(SpaceError) as caught:
        parse_space(text, "my.yaml")
    assert any(told.startswith(f"my.yaml:{line}: ") and fragment in told for told in str(caught.value).split("\n")), (
        str(caught.value)
    )


@pytest.mark.parametrize("extra", ["dataset: {name: digits}\n", "parameters: {classifier: {}}\n", "parameters: {}\n"])
def test_what_may_be_left_out_can_be_left_out(extra):
    parse_space(HEAD + extra, "my.yaml")


@pytest.mark.parametrize(("name", "validation"), [("mnist", 5000), ("fashion_mnist", 5000), ("digits", 200)])
def test_without_a_number_as_many_images_are_held_out_as_suit_the_dataset(name, validation):
    space = parse_space(HEAD + f"dataset: {{name: {name}}}\n", "my.yaml")
    assert space.dataset.validation == validation
    assert CONFIGURATIONS["pgd"](dataset={"name": name}).dataset.validation == validation


def test_of_many_mistakes_the_first_are_listed_and_that_there_are_more():
    with pytest.raises(SpaceError) as caught:
        parse_space(HEAD + "".join(f"objective_{number}: 1\n" for number in range(1500)), "my.yaml")
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("my.yaml:4: objective_0: unknown key")
    assert lines[-1] == "my.yaml: more than 100 mistakes: these are the first"
    assert len(lines) == 101
