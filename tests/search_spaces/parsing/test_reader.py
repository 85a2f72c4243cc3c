"""The grammar: every mistake has its line and names what would be right, and all are told at once."""

from __future__ import annotations

import pytest

from search_spaces import Baseline, Choice, Fixed, FloatRange, Fragments, IntRange, Mistake, SpaceError, read

HEAD = "name: x\ntrainable: gan\nbudget: {trials: 4, compute: 2}\n"  # three lines
GRID = HEAD.replace("trials: 4, ", "") + "search: {sampler: grid}\n"  # four lines


def parameter(leaf: str) -> str:
    return (
        f"{HEAD}parameters:\n  group:\n    setting: {leaf}\n    kind: {{choice: [a, b]}}\n    rate: {{float: [0, 1]}}\n"
    )


# The text, the line of the mistake, and what its message says.
BAD = [
    ("", 1, "a search space is a mapping with keys of these: name, description, trainable"),
    ("- a\n", 1, "a search space is a mapping"),
    (HEAD + "budgte: 1\n", 4, "budgte: unknown key 'budgte'; did you mean 'budget'? (valid: baselines, budget,"),
    ("name: x\nbudget: {trials: 1, compute: 1}\n", 1, "trainable: is required"),
    (HEAD.replace("name: x", "name: ../x"), 1, "name: a name is 1 to 63 lower-case letters"),
    (HEAD.replace("name: x", 'name: "x\\n"'), 1, "name: a name is"),
    (HEAD.replace("name: x", f"name: {'x' * 300}"), 1, "name: a name is"),
    (HEAD.replace("name: x", "name: 3"), 1, "name: a name is"),
    (HEAD + "trainable: pgd\n", 4, "trainable: given twice: it already stands on line 2"),
    (HEAD.replace("trials: 4", "trials: 0"), 3, "budget.trials: must be greater than or equal to 1, not 0"),
    (HEAD.replace("trials: 4", "trials: 4.5"), 3, "budget.trials: must be a valid integer, not 4.5"),
    (HEAD.replace("trials: 4", "trials: true"), 3, "budget.trials: must be a valid integer, not true"),
    (
        HEAD.replace("trials: 4, ", ""),
        3,
        "budget: one of trials, total_compute, time is required unless search.sampler is grid",
    ),
    (
        HEAD.replace("trials: 4", "trials: null"),
        3,
        "budget: one of trials, total_compute, time is required unless search.sampler is grid",
    ),
    (
        HEAD.replace("trials: 4, compute: 2", ""),
        3,
        "budget: one of trials, total_compute, time is required unless search.sampler is grid",
    ),
    (HEAD.replace("compute: 2", "compute: '2'"), 3, "budget.compute: must be a valid number, not '2'"),
    (HEAD.replace("compute: 2", "compute: 2, time: 90"), 3, "budget.time: must be a number above 0 with its unit"),
    (HEAD.replace("compute: 2", "compute: 2, tim: 2h"), 3, "budget.tim: unknown key 'tim'; did you mean 'time'?"),
    (HEAD.replace("{trials: 4, compute: 2}", "4"), 3, "budget: must be a mapping of settings, not 4"),
    (HEAD + "objective:\n- {metric: a}\n- {metrik: b}\n", 6, "objective[1].metrik: unknown key 'metrik'; did you mean"),
    (HEAD + "objective: []\n", 4, "objective: "),
    (HEAD + "objective: 3\n", 4, "objective: must be a mapping of settings, not 3"),
    (HEAD + "search: {prune_on: robust}\n", 4, "search.prune_on: must be a mapping of settings, not 'robust'"),
    (HEAD + "confirm: {seeds: 1}\n", 4, "confirm.seeds: must be greater than or equal to 2, not 1"),
    (HEAD + "objective: {mode: maximise}\n", 4, "objective.mode: must be 'max' or 'min', not 'maximise'"),
    (HEAD + "constraints: {a: {mni: 1}}\n", 4, "constraints.a.mni: unknown key 'mni'; did you mean 'min'?"),
    (HEAD + "constraints: {a: {}}\n", 4, "constraints.a: needs min, max or both"),
    (HEAD + "constraints: {a: {min: 2, max: 1}}\n", 4, "constraints.a: min (2) must not be above max (1)"),
    (
        HEAD + "search: {sampler: tpee}\n",
        4,
        "search.sampler: must be 'tpe', 'gp', 'nsga2', 'random', 'qmc' or 'grid', not 'tpee'",
    ),
    (HEAD + "search: {pruner: hyperbant}\n", 4, "search.pruner: must be none or one of successive_halving, hyperband,"),
    (HEAD + "search: {pruner: {median: {startup: 1}}}\n", 4, "search.pruner.median.startup: unknown key 'startup'"),
    (
        HEAD + "search:\n  pruner:\n    successive_halving:\n      reduction_factor: 1\n",
        7,
        "greater than or equal to 2",
    ),
    (HEAD + "resources: {cpu: 0}\n", 4, "resources.cpu: must be greater than or equal to 0.01, not 0"),
    (HEAD + "resources: {gpu: -1}\n", 4, "resources.gpu: must be greater than or equal to 0, not -1"),
    (HEAD + "dataset: {nmae: mnist}\n", 4, "dataset.nmae: unknown key 'nmae'; did you mean 'name'?"),
    (HEAD + "seeds: 3\n", 4, "seeds: repeats the points of a grid"),
    (HEAD + "baselines: pgd\n", 4, "baselines: must be a list of baselines, not 'pgd'"),
    (HEAD + "baselines:\n- a\n- 3\n", 6, "baselines[1]: must be a name, or a mapping"),
    (HEAD + "baselines:\n- a\n- {epsilon: 3}\n", 6, "baselines[1]: must be a name, or a mapping"),
    (HEAD + "baselines:\n- a\n- {trainable: a}\n", 6, "baselines[1]: a is the name of two baselines"),
    (HEAD + "baselines:\n- {trainable: a, name: A}\n", 5, "baselines[0].name: a name is"),
    (HEAD + "parameters: 3\n", 4, "parameters: must be a mapping of settings, not 3"),
    (HEAD + "parameters:\n  a.b: 3\n", 5, "'a.b' cannot name a setting"),
    (parameter("{float: [0.1, 0.01]}"), 6, "parameters.group.setting: low (0.1) must be below high (0.01)"),
    (parameter("{int: [2, 2]}"), 6, "parameters.group.setting: low (2) must be below high (2)"),
    (parameter("{float: [0, 1], log: true}"), 6, "with log, low (0) must be above 0"),
    (parameter("{float: [0.1, 1], log: yes}"), 6, "setting.log: must be true or false, not 'yes'"),
    (parameter("{float: 3}"), 6, "float takes [low, high], not 3"),
    (parameter("{float: [1, 2, 3]}"), 6, "float takes [low, high], not [1, 2, 3]"),
    (parameter("{float: [low, 2]}"), 6, "float[0]: the ends of float must be numbers, not 'low'"),
    (parameter("{int: [1, 2.5]}"), 6, "int[1]: the ends of int must be whole numbers, not 2.5"),
    (parameter("{int: [true, 2]}"), 6, "int[0]: the ends of int must be whole numbers, not true"),
    (parameter("{int: [1, 2], float: [1, 2]}"), 6, "takes exactly one of float, int and choice, and has float and int"),
    (parameter("{log: true}"), 6, "takes exactly one of float, int and choice, and has none of them"),
    (
        parameter("{choice: [1, 2], step: 1}"),
        6,
        "setting.step: unknown key 'step' (valid: choice, prior, schedule, when)",
    ),
    (parameter("{choice: []}"), 6, "setting.choice: takes [value, ...] or named groups"),
    (parameter("{choice: 3}"), 6, "setting.choice: takes [value, ...] or named groups"),
    (parameter("{choice: [1, 2, 1]}"), 6, "setting.choice[2]: 1 stands twice in the choice"),
    (parameter("{choice: [[1], [2]]}"), 6, "setting.choice[0]: must be a number, text, true, false or null; to choose"),
    (
        parameter("{choice: [1, 2], log: true}"),
        6,
        "setting.log: unknown key 'log' (valid: choice, prior, schedule, when)",
    ),
    (parameter("{choice: {a: 1}}"), 6, "setting.choice.a: must be a mapping of settings, not 1"),
    (parameter("{choice: {a: {float: [0, 1]}}}"), 6, "setting.choice.a: is no group of settings; for a range"),
    (parameter("{choice: {a: {b: {int: [2, 1]}}}}"), 6, "choice.a.b: low (2) must be below high (1)"),
    (parameter("{int: [1, 2], schedule: 3}"), 6, "schedule: takes one or several of constant, linear, stepped, not 3"),
    (parameter("{int: [1, 2], schedule: []}"), 6, "schedule: takes one or several of constant, linear, stepped"),
    (
        parameter("{int: [1, 2], schedule: liner}"),
        6,
        "setting.schedule: unknown schedule 'liner'; did you mean 'linear'",
    ),
    (
        parameter("{int: [1, 2], schedule: [linear, cubic]}"),
        6,
        "setting.schedule[1]: unknown schedule 'cubic' (valid: ",
    ),
    (parameter("{int: [1, 2], schedule: [linear, linear]}"), 6, "setting.schedule[1]: linear stands twice"),
    (parameter("{int: [1, 2], schedule: constant}"), 6, "constant alone changes nothing over the run: leave schedule"),
    (
        parameter("{int: [1, 2], schedule: [constant]}"),
        6,
        "constant alone changes nothing over the run: leave schedule",
    ),
    (parameter("{int: [2, 1], schedule: linear}"), 6, "parameters.group.setting: low (2) must be below high (1)"),
    (parameter("{choice: [1, a], schedule: linear}"), 6, "choice[1]: a schedule goes through numbers, and this is 'a'"),
    (
        parameter("{choice: [1, null], schedule: linear}"),
        6,
        "choice[1]: a schedule goes through numbers, and this is nu",
    ),
    (parameter("{choice: {a: {}}, schedule: linear}"), 6, "choice.a: a schedule goes through numbers, and this is 'a'"),
    (
        parameter("{int: [1, 2], knots: 3}"),
        6,
        "setting.knots: unknown key 'knots' (valid: int, log, or_zero, prior, schedule,",
    ),
    (
        parameter("{int: [1, 2], schedule: linear, knot: 3}"),
        6,
        "setting.knot: unknown key 'knot'; did you mean 'knots'?",
    ),
    (
        parameter("{int: [1, 2], schedule: linear, knots: 3}"),
        6,
        "setting.knots: is how many values stepped has: leave it",
    ),
    (parameter("{int: [1, 2], schedule: stepped, knots: 1}"), 6, "knots: must be a whole number from 2 to 16, not 1"),
    (parameter("{int: [1, 2], schedule: stepped, knots: 3.0}"), 6, "must be a whole number from 2 to 16, not 3.0"),
    (
        parameter("{int: [1, 2], schedule: stepped, knots: {int: [2, 3]}}"),
        6,
        "must be a whole number from 2 to 16, not {",
    ),
    (parameter("{int: [1, 2], schedule: linear, at: 0.5}"), 6, "at: takes moments as shares of the run, like [0, 0.5,"),
    (
        parameter("{int: [1, 2], schedule: linear, at: [0, 2]}"),
        6,
        "at: takes moments as shares of the run, like [0, 0.5,",
    ),
    (
        parameter("{int: [1, 2], schedule: linear, at: [0, 0]}"),
        6,
        "at: the moments must increase, and these are [0, 0]",
    ),
    (
        parameter("{int: [1, 2], schedule: linear, at: [0, 0.5, 1]}"),
        6,
        "at: needs one moment for each of the 2 values, no",
    ),
    (
        parameter("{int: [1, 2], schedule: stepped, knots: 2, at: [0, 0.5, 1]}"),
        6,
        "at: needs one moment for each of the 2 values, not 3",
    ),
    (
        parameter("{int: [1, 2], schedule: [linear, stepped], at: [0, 0.5]}"),
        6,
        "at: linear reaches its values at other moments than stepped: give at with one of them",
    ),
    (
        HEAD + "parameters:\n  rate: {float: [0, 1], schedule: linear}\n  a: {int: [1, 2], when: {rate: constant}}\n",
        6,
        "parameters.a.when.rate: rate is never 'constant': it is a schedule: linear",
    ),
    (
        HEAD
        + "parameters:\n  a: {int: [1, 2], schedule: linear, when: {b: 1}}\n  b: {int: [1, 2], when: {a: linear}}\n",
        5,
        "parameters.a.when: its condition leads back to itself",
    ),
    (
        GRID + "parameters:\n  a: {float: [1, 2], schedule: linear}\n",
        6,
        "a: the grid sampler needs single values: write",
    ),
    (parameter("{int: [1, 2], when: {knd: a}}"), 6, "when.knd: unknown sibling 'knd'; did you mean 'kind'?"),
    (parameter("{int: [1, 2], when: {kind: c}}"), 6, "when.kind: kind is never 'c': it is one of 'a', 'b'"),
    (parameter("{int: [1, 2], when: {kind: []}}"), 6, "when.kind: names no value of kind"),
    (parameter("{int: [1, 2], when: {rate: 1}}"), 6, "a condition needs a choice, an int or a fixed value"),
    (parameter("{int: [1, 2], when: {setting: 1}}"), 6, "when.setting: unknown sibling 'setting'"),
    (parameter("{int: [1, 2], when: kind}"), 6, "setting.when: takes {sibling: value or [values]}, not 'kind'"),
    (parameter("{int: [1, 2], when: {}}"), 6, "setting.when: takes {sibling: value or [values]}"),
    (
        HEAD + "parameters:\n  a: {int: [1, 2], when: {b: 1}}\n  b: {int: [1, 2], when: {a: 1}}\n",
        6,
        "parameters.b.when: its condition leads back to itself",
    ),
    (GRID + "parameters:\n  a: {float: [1, 2]}\n", 6, "the grid sampler needs single values: write {choice: [...]}"),
    (GRID + "parameters: {a: {int: [1, 9999999999]}}\n", 5, "the grid has more than 10,000 points"),
    (GRID + "parameters: {a: {int: [1, 2]}}\nfirst: [{a: 1}]\n", 6, "first: has no effect with the grid sampler"),
    (
        GRID.replace("{compute", "{trials: 5, compute") + "seeds: 2\nparameters: {a: {int: [1, 2]}}\n",
        3,
        "budget.trials: 5 trials are more than the grid's points times seeds (4)",
    ),
    (parameter("1") + "first: 3\n", 9, "first: must be a list of settings, not 3"),
    (
        parameter("1") + "first:\n- paper\n",
        10,
        "first[0]: unknown published configuration of gan 'paper' (valid: none)",
    ),
    (parameter("1") + "first:\n- group: {kid: a}\n", 10, "first[0].group.kid: unknown parameter 'group.kid'; did you"),
    (parameter("1") + "first:\n- group: {kind: c}\n", 10, "first[0].group.kind: must be one of 'a', 'b', not 'c'"),
    (parameter("1") + "first:\n- group: {rate: 2}\n", 10, "first[0].group.rate: must be a number in [0, 1], not 2"),
    (parameter("1") + "first:\n- group: {setting: 2}\n", 10, "first[0].group.setting: must be 1, not 2"),
    (
        parameter("{int: [1, 2], schedule: [constant, linear]}") + "first:\n- group: {setting: {kind: stepped}}\n",
        10,
        "first[0].group.setting.kind: must be one of 'constant', 'linear', not 'stepped'",
    ),
    (
        parameter("{int: [1, 2], schedule: linear}") + "first:\n- group: {setting: 1}\n",
        10,
        "first[0].group.setting.kind: must be 'linear', not 'constant'",
    ),
    (
        parameter("{int: [1, 2], schedule: [constant, linear]}")
        + "first:\n- group: {setting: {kind: constant, values: [1, 2]}}\n",
        10,
        "first[0].group.setting.knot_2: has no effect beside group.setting.kind = 'constant': remove it",
    ),
    (
        parameter("{int: [1, 2], schedule: linear}") + "first:\n- group: {setting: {values: [1, 2, 2]}}\n",
        10,
        "unknown parameter 'group.setting.knot_3'; did you mean 'group.setting.knot_2'?",
    ),
    (
        parameter("{int: [1, 2], schedule: linear}") + "first:\n- group: {setting: {values: 3}}\n",
        10,
        "first[0].group.setting.values: unknown parameter 'group.setting.values'",
    ),
    (
        parameter("{int: [1, 2], when: {kind: a}}") + "first:\n- group: {kind: b, setting: 1}\n",
        10,
        "first[0].group.setting: has no effect beside group.kind = 'b': remove it",
    ),
]


@pytest.mark.parametrize(("text", "line", "fragment"), BAD)
def test_a_mistake_is_told_with_its_line_and_its_remedy(text, line, fragment):
    with pytest.raises(SpaceError) as caught:
        read(text, "my.yaml")
    assert any(told.startswith(f"my.yaml:{line}: ") and fragment in told for told in str(caught.value).split("\n")), (
        str(caught.value)
    )


def test_all_mistakes_are_told_at_once_sorted_by_line_with_those_of_the_caller():
    text = (
        "name: X\n"
        "trainable: gan\n"
        "budget: {compute: 0}\n"
        "colour: red\n"
        "parameters:\n"
        "  a: {float: [2, 1], log: 3, whn: {}}\n"
        "  a: 3\n"
        "  b: {int: [1, 2], when: {c: 1}}\n"
        "first:\n"
        "- {b: 7}\n"
    )
    with pytest.raises(SpaceError) as caught:
        read(text, "my.yaml", lambda draft: [Mistake(None, ("parameters", draft.parameters[0].name), "of the caller")])
    mistakes = caught.value.mistakes
    assert [mistake.line for mistake in mistakes] == [1, 3, 3, 4, 6, 6, 6, 7, 8, 8, 10]
    assert Mistake(8, ("parameters", "b"), "of the caller") in mistakes


def test_a_mistake_in_a_setting_brings_no_others_about_it():
    text = HEAD + "parameters:\n  a: {choice: []}\n  b: {int: [1, 2], when: {a: 1}}\nfirst:\n- {a: 1}\n"
    with pytest.raises(SpaceError) as caught:
        read(text, "my.yaml")
    assert [mistake.line for mistake in caught.value.mistakes] == [5]


@pytest.mark.parametrize("objective", ["robust", "{metric: robust, mode: maximize}", "[3]"])
def test_a_list_is_not_called_empty_because_its_entries_are_wrong(objective):
    with pytest.raises(SpaceError) as caught:
        read(HEAD + f"objective: {objective}\n", "my.yaml")
    (mistake,) = caught.value.mistakes
    assert "empty" not in mistake.message


def test_every_part_of_a_file_is_read():
    space = read(
        """
        name: all-of_it
        trainable: gan
        description: everything
        dataset: {name: digits, validation: 10}
        evaluation: {epsilon: 0.1}
        objective: {metric: loss, mode: min}
        constraints: {clean: {min: 0.5}}
        budget: {trials: 3, compute: 1e1, time: 1.5h}
        search: {sampler: random, pruner: {median: {startup_trials: 2}}, seed: 7}
        resources: {cpu: 2, gpu: 0.5}
        baselines: [standard, {trainable: gan, name: wide, generator: {width: 64}}]
        parameters:
          late: {int: [1, 8], log: true, when: {kind: [b, c]}}
          kind: {choice: [a, b, c]}
          group: {rate: {float: [1e-4, 1]}, steps: [6, 8]}
          bundle: {choice: {one: {x: 1}, two: {x: 2, y: {z: 3}}}}
        first: [{kind: b, group: {rate: 1, steps: [6, 8]}}]
        """,
        "all.yaml",
    )
    assert (space.budget.time, space.budget.compute, space.num_trials) == (5400, 10, 3)
    assert space.search.pruner.median is not None
    assert space.search.pruner.successive_halving is None
    assert (space.dataset.name, space.evaluation.epsilon, space.resources.gpu) == ("digits", 0.1, 0.5)
    assert space.baselines[1] == Baseline(name="wide", trainable="gan", settings={"generator": {"width": 64}})
    assert space.first_parameters() == [{"kind": "b", "group.rate": 1.0}]
    assert {one.name: one.domain for one in space.parameters} == {
        "kind": Choice(("a", "b", "c")),
        "late": IntRange(1, 8, log=True),
        "group.rate": FloatRange(1e-4, 1.0),
        "group.steps": Fixed([6, 8]),
        "bundle": Fragments({"one": {"x": 1}, "two": {"x": 2, "y": {"z": 3}}}),
    }
    assert [one.name for one in space.parameters][:2] == ["kind", "late"]
