"""Schedules: rows of what they give at moments of a run, what holds for all of them, and training with each."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.loops import finish
from trainables.config import AttackConfig, ClassifierConfig, GeneratorConfig, RatioConfig
from trainables.config.schedules import Schedule, learning_rate_factor, value_at, warmed_up

VALUES = st.floats(0, 1e6)
PROGRESS = st.floats(0, 1)


@st.composite
def schedules(draw, least=1):
    values = draw(st.lists(VALUES, min_size=least, max_size=6))
    kind = draw(st.sampled_from(["linear", "stepped"])) if len(values) > 1 else "constant"
    some = st.none() | st.lists(PROGRESS, min_size=len(values), max_size=len(values), unique=True).map(sorted)
    return Schedule[float](kind=kind, values=values, at=draw(some) if len(values) > 1 else None)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", {0.0: 1.0, 0.5: 1.0, 1.0: 1.0}),
        ("cyclic", {0.0: 0.0, 0.2: 0.5, 0.4: 1.0, 0.7: 0.5, 1.0: 0.0}),
        ("step", {0.0: 1.0, 0.49: 1.0, 0.5: 0.1, 0.74: 0.1, 0.75: 0.01, 1.0: 0.01}),
    ],
)
def test_learning_rate(schedule, factors):
    assert {at: pytest.approx(learning_rate_factor(schedule, at)) for at in factors} == factors


@pytest.mark.parametrize(
    ("warmup", "progress", "value"), [(0.0, 0.0, 0.3), (0.5, 0.0, 0.0), (0.5, 0.25, 0.15), (0.5, 0.9, 0.3)]
)
def test_warm_up(warmup, progress, value):
    assert warmed_up(0.3, warmup, progress) == pytest.approx(value)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ({"kind": "constant", "values": [3]}, {0.0: 3, 0.5: 3, 1.0: 3}),
        ({"kind": "linear", "values": [1, 3]}, {0.0: 1, 0.25: 1.5, 1.0: 3}),
        ({"kind": "linear", "values": [3, 0], "at": [0.2, 0.6]}, {0.0: 3, 0.2: 3, 0.4: 1.5, 0.6: 0, 1.0: 0}),
        ({"kind": "linear", "values": [0, 4, 2]}, {0.0: 0, 0.25: 2, 0.5: 4, 0.75: 3, 1.0: 2}),
        ({"kind": "stepped", "values": [1, 2]}, {0.0: 1, 0.49: 1, 0.5: 2, 1.0: 2}),
        ({"kind": "stepped", "values": [6, 8, 12]}, {0.0: 6, 0.33: 6, 0.34: 8, 0.66: 8, 0.67: 12, 1.0: 12}),
        ({"kind": "stepped", "values": [6, 8], "at": [0.1, 0.9]}, {0.0: 6, 0.89: 6, 0.9: 8, 1.0: 8}),
    ],
)
def test_values(schedule, values):
    schedule = Schedule[float](**schedule)
    assert {progress: pytest.approx(schedule.value(progress)) for progress in values} == values


ROUNDED = Schedule[float](kind="linear", values=[0.923, 0.22], at=[8.406193925231142e-07, 0.9559809132204262])


@example(ROUNDED, 0.9559809132204261)  # 0.21999999999999997 by the formula alone
@given(schedules(), PROGRESS)
def test_a_value_is_within_the_range_of_the_values(schedule, progress):
    assert min(schedule.values) <= schedule.value(progress) <= max(schedule.values)


@given(schedules(least=2))
def test_a_value_holds_at_its_moment(schedule):
    assert tuple(schedule.value(moment) for moment in schedule.moments) == schedule.values


@given(schedules(), PROGRESS)
def test_what_json_keeps_goes_on_the_same(schedule, progress):
    again = Schedule[float].model_validate(json.loads(json.dumps(schedule.model_dump(mode="json"))))
    assert again == schedule
    assert again.value(progress) == schedule.value(progress)


@given(VALUES, PROGRESS)
def test_a_plain_number_is_a_constant(number, progress):
    assert value_at(number, progress) == number == Schedule[float](kind="constant", values=[number]).value(progress)


@pytest.mark.parametrize("schedule", ["cyclic", "step"])
def test_the_named_learning_rates_can_be_written_out(schedule):
    written = {
        "cyclic": Schedule[float](kind="linear", values=[0, 1, 0], at=[0, 0.4, 1]),
        "step": Schedule[float](kind="stepped", values=[1, 0.1, 0.01], at=[0, 0.5, 0.75]),
    }[schedule]
    for progress in (index / 40 for index in range(41)):
        assert written.value(progress) == pytest.approx(learning_rate_factor(schedule, progress))


@pytest.mark.parametrize(
    ("schedule", "fragment"),
    [
        ({"kind": "constant", "values": [1, 2]}, "constant takes one value, not 2"),
        ({"kind": "constant", "values": []}, "constant takes one value, not 0"),
        ({"kind": "constant", "values": [1], "at": [0]}, "constant has no moments: remove at"),
        ({"kind": "linear", "values": [1]}, "linear takes 2 or more values, not 1"),
        ({"kind": "stepped", "values": [1]}, "stepped takes 2 or more values, not 1"),
        ({"kind": "linear", "values": [1, 2], "at": [0.5]}, "at needs one moment for each of the 2 values, not 1"),
        ({"kind": "linear", "values": [1, 2], "at": [0.5, 0.5]}, "must increase, got [0.5, 0.5]"),
        ({"kind": "linear", "values": [1, 2], "at": [0, 1.5]}, "less than or equal to 1"),
        ({"kind": "linear", "values": [1, -0.1]}, "greater than or equal to 0"),
        ({"kind": "linear", "values": [1, "2"]}, "valid number"),
        ({"kind": "linear"}, "Field required"),
        ({"values": [1]}, "Field required"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule, fragment):
    with pytest.raises(ValidationError) as caught:
        ClassifierConfig(learning_rate=schedule)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [
        (AttackConfig, "epsilon", 1.1),
        (GeneratorConfig, "perturbation_bound", 1.1),
        (GeneratorConfig, "learning_rate", -0.1),
        (RatioConfig, "generator_turns", 0),
        (RatioConfig, "generator_turns", 1.5),
    ],
)
def test_values_out_of_the_setting_s_bounds_are_errors(config, key, value):
    with pytest.raises(ValidationError) as caught:
        config(**{key: {"kind": "linear", "values": [1, value]}})
    (mistake,) = caught.value.errors()
    assert mistake["loc"] == (key, "values", 1)


@pytest.mark.parametrize(
    ("config", "key", "value"),
    [(ClassifierConfig, "learning_rate", 0.1), (AttackConfig, "epsilon", 0.1), (RatioConfig, "generator_turns", 2)],
)
def test_a_constant_schedule_is_its_number(config, key, value):
    constant = config(**{key: {"kind": "constant", "values": [value]}})
    assert constant == config(**{key: value})
    assert type(getattr(constant, key)) is type(value)


def test_a_constant_of_zero_survives_json():
    config = AttackConfig(epsilon={"kind": "constant", "values": [0.0]})
    assert value_at(config.epsilon, 0.5) == 0.0
    assert AttackConfig.model_validate_json(config.model_dump_json()) == config


SCHEDULED = {
    "classifier": {"kind": "linear", "values": [2e-3, 1e-3]},
    "bound": {"kind": "linear", "values": [0.0, 0.1], "at": [0.0, 0.5]},
    "generator": {"kind": "stepped", "values": [1e-3, 5e-3]},
    "turns": {"kind": "stepped", "values": [1, 3]},
}


class TestTraining:
    @pytest.mark.parametrize("kind", ["constant", "linear", "stepped"])
    @pytest.mark.parametrize("trainable", ["standard", "fgsm_retraining"])
    def test_the_rate_and_epsilon_are_the_schedule_s_at_every_minibatch(self, trainable, kind, loop_of):
        def schedule(values):
            return {"kind": kind, "values": values[:1] if kind == "constant" else values}

        attack = {} if trainable == "standard" else {"attack": {"epsilon": schedule([0.05, 0.0, 0.02]), "warmup": 0.0}}
        classifier = {"architecture": "mlp", "schedule": "constant", "learning_rate": schedule([0.01, 0.001])}
        loop = loop_of(trainable, classifier=classifier, compute=6.0, report_every=6.0, **attack)
        seen = []
        train = loop.train_minibatch

        def watched():
            epsilon = getattr(loop, "epsilon", None)
            seen.append((loop.progress, loop.optimizer.param_groups[0]["lr"], epsilon))
            train()

        loop.train_minibatch = watched
        (report,) = finish(loop)
        for progress, rate, epsilon in seen:
            assert rate == value_at(loop.config.classifier.learning_rate, progress)
            assert epsilon in (None, attack and value_at(loop.config.attack.epsilon, progress))
        assert len({rate for _, rate, _ in seen}) == {"constant": 1, "linear": len(seen), "stepped": 2}[kind]
        assert report["clean"] > 0.5

    def test_the_generator_s_rate_bound_and_turns_follow_theirs(self, loop_of):
        generator = {"width": 4, "perturbation_bound": SCHEDULED["bound"], "learning_rate": SCHEDULED["generator"]}
        loop = loop_of("gan", generator=generator, ratio={"generator_turns": SCHEDULED["turns"]}, pretrain=0.0)
        rates, ratios = {}, []
        while not loop.done:
            ratios.append(loop.step()["ratio"])
            rates[loop.progress] = loop.adversary.optimizer.param_groups[0]["lr"]
            assert loop.bound == loop.config.generator.perturbation_bound.value(loop.progress)
        assert list(rates.values()) == [1e-3, 1e-3, 5e-3, 5e-3]
        assert ratios[0] == pytest.approx(1, abs=0.3)
        assert ratios[-1] == pytest.approx(3, abs=0.5)
