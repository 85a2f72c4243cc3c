"""What checking a space costs grows with the size of its file, whatever is in it, and has an upper bound."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

import pytest

from search_spaces import SpaceError
from search_spaces.checks import combinations
from search_spaces.configurations import parse_space
from search_spaces.errors import Path

HEAD = "name: x\ntrainable: gan\nbudget: {trials: 4, compute: 2}\n"
GRID = "name: x\ntrainable: gan\nbudget: {compute: 2}\nsearch: {sampler: grid}\nparameters:\n"
SETTINGS = HEAD + "parameters:\n"


def lines(line: str, number: int) -> str:
    return "".join(line.replace("#", str(index)).replace("@", str(index + 1)) + "\n" for index in range(number))


def numbers(number: int) -> str:
    return str(list(range(1, number + 1)))


def choice_of(number: int, head: str = SETTINGS) -> str:
    return f"{head}  batch_size: {{choice: {numbers(number)}}}\n"


# Files of a size, by what there is much of.
SHAPES = {
    "values": lambda n: (
        f"{SETTINGS}  batch_size: {{choice: {numbers(n)}}}\n  generator: {{noise: {{choice: {numbers(n)}}}}}"
    ),
    "wrong values": lambda n: f"{SETTINGS}  classifier: {{architecture: {{choice: {numbers(n)}}}}}",
    "groups": lambda n: f"{SETTINGS}  ratio:\n    choice:\n{lines('      r#: {generator_turns: @}', n)}",
    "wrong groups": lambda n: f"{SETTINGS}  ratio:\n    choice:\n{lines('      r#: {turns: @}', n)}",
    "settings": lambda n: SETTINGS + lines("  width_#: @", n),
    "settings of a section": lambda n: f"{SETTINGS}  generator:\n{lines('    width_#: @', n)}",
    "nested settings": lambda n: f"{SETTINGS}  generator:\n{lines('    a#: {b: {c: 1}}', n)}",
    "conditions": lambda n: f"{SETTINGS}{lines('  a#: {choice: [1, 2], when: {a@: 1}}', n)}  a{n}: {{choice: [1, 2]}}",
    "wrong conditions": lambda n: SETTINGS + lines("  a#: {choice: [1, 2], when: {b@: 1}}", n),
    "values of a condition": lambda n: (
        f"{choice_of(n)}  pretrain: {{float: [0, 1], when: {{batch_size: {numbers(n)}}}}}"
    ),
    "schedules": lambda n: SETTINGS + lines("  a#: {float: [1, 2], schedule: [linear, stepped], knots: 16}", n),
    "kinds": lambda n: f"{SETTINGS}  warmup: {{float: [0, 1], schedule: [{'linear, ' * n}]}}",
    "known": lambda n: f"{choice_of(n)}first:\n{lines('- {batch_size: @}', n)}",
    "known by name": lambda n: f"{SETTINGS}  batch_size: {{int: [1, 128]}}\nfirst:\n{lines('- paper_adaptive', n)}",
    "wrong known": lambda n: f"{SETTINGS}{lines('  a#: 1', min(n, 200))}first:\n{lines('- {b#: 1}', n)}",
    "baselines": lambda n: f"{HEAD}baselines:\n{lines('- {published: paper_adaptive, name: a#}', n)}",
    "settings of a baseline": lambda n: f"{HEAD}baselines:\n- trainable: gan\n{lines('  width_#: 1', n)}",
    "objectives": lambda n: f"{HEAD}objective:\n{lines('- {metric: robust_#}', n)}",
    "repeated objectives": lambda n: f"{HEAD}objective:\n{lines('- {metric: compute}', n)}",
    "constraints": lambda n: f"{HEAD}constraints:\n{lines('  robust_#: {min: 0}', n)}",
    "keys": lambda n: HEAD + lines("objective_#: 1", n),
    "long keys": lambda n: HEAD + lines(f"{'o' * 80}#: 1", n),
    "keys twice": lambda n: HEAD + lines("name: x", n),
    "anchors": lambda n: HEAD + lines("a#: &b# 1", n),
    "aliases": lambda n: f"{HEAD}a: [{'*b, ' * n}]",
    "long text": lambda n: f"{HEAD}description: {'x' * 20 * n}",
    "comments": lambda n: HEAD + "# c\n" * 10 * n,
    "points": lambda n: f"{choice_of(n, GRID)}  pretrain: {{choice: [0, 1]}}",
    "a grid of many": lambda n: GRID + lines("  a#: {choice: [1, 2]}", n),
    "a conditional grid of many": lambda n: (
        f"{GRID}{lines('  a#: {choice: [1, 2], when: {b: 1}}', n)}  b: {{choice: [1, 2]}}"
    ),
}


def num_calls(text: str) -> int:
    """Return how many functions are called while a text is checked: what it costs, on a machine of any speed."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        parse_space(text, "x")
    except SpaceError:
        pass
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_twice_as_much_costs_at_most_twice_as_much(make):
    num_calls(make(10))  # so that nothing is made for the first time
    small, large = num_calls(make(200)), num_calls(make(400))
    assert large < 2.3 * small
    assert small < 3_000_000  # 0.15 s at most


def test_of_long_choices_and_many_settings_a_limited_number_of_configurations_is_validated(monkeypatch):
    """All numbers of a recipe with eleven values each, and long lists of labels: once there were 100,000 pairs."""
    validated = 0
    validate = combinations.model_mistakes

    def count(config: type, settings: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
        nonlocal validated
        validated += 1
        return validate(config, settings)

    monkeypatch.setattr(combinations, "model_mistakes", count)
    counts, shares = numbers(11), [round(0.05 + index / 20, 2) for index in range(11)]
    whole = ("width", "noise", "recursions", "pool", "pool_every", "draws", "reinitialise_every", "diversity")
    parts = ("recursion_step", "warmup", "perturbation_bound", "learning_rate")
    text = (
        f"{SETTINGS}  batch_size: {{choice: {counts}}}\n  pretrain: {{choice: {shares}}}\n"
        "  compute: {choice: [0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2]}\n"
        f"  ratio: {{generator_turns: {{choice: {counts}}}, max_generator_turns: {{choice: {counts}}}}}\n  generator:\n"
        "    goal: {choice: [targeted, source_to_target]}\n    target: {int: [0, 4]}\n"
        "    source: {int: [5, 9], when: {goal: source_to_target}}\n"
        + "".join(f"    {name}: {{choice: {counts}}}\n" for name in whole)
        + "".join(f"    {name}: {{choice: {shares}}}\n" for name in parts)
    )
    parse_space(text, "x")
    assert 100 < validated < 1000
