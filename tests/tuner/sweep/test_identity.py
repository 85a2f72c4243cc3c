"""What a sweep is: the digest of its space, and which keys of an edited one have changed."""

from __future__ import annotations

import json
import socket

import pytest

from search_spaces.configurations import parse_space
from tests.tuner.conftest import SPACE
from tuner.sweep.folder import SweepFolder
from tuner.sweep.identity import changeable_keys, changed_keys, content_of, digest_of

LAUNCHED = content_of(parse_space(SPACE, "tiny.yaml"))


def edited(before: str, after: str) -> dict[str, object]:
    assert before in SPACE
    return dict(content_of(parse_space(SPACE.replace(before, after), "tiny.yaml")))


def test_the_file_of_a_sweep_says_which_space_it_was_launched_with_and_where_it_lies(make_sweep):
    sweep = make_sweep()
    meta = json.loads((sweep.folder / "sweep.json").read_text())
    assert meta["format"] == 3
    assert meta["space"] == {"sha256": digest_of(LAUNCHED), "content": LAUNCHED, "text": SPACE}
    assert meta["location"] == {
        "place": str(sweep.folder),
        "inode": sweep.folder.stat().st_ino,
        "host": socket.gethostname(),
    }
    assert SweepFolder.open("tiny", home=sweep.folder.parent) == sweep


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("name: tiny\n", "# a comment\nname: tiny\n"),
        ("name: tiny\n", "name: other\n"),
        ("a space for tests", "other words"),
        ("{name: digits, validation: 200}", "{validation: 200, name: digits}"),
        ("{name: digits, validation: 200}\n", "{name: digits, validation: 200}\nconfirm: {top: 3}\n"),
        ("[1.0e-4, 1.0e-2]", "[0.0001, 0.01]"),
        ("search: {sampler: random, seed: 7}\n", "search:\n  seed: 7\n  sampler: random\n"),
    ],
)
def test_what_changes_no_run_changes_no_digest(before, after):
    content = edited(before, after)
    assert digest_of(content) == digest_of(LAUNCHED)
    assert changed_keys(LAUNCHED, content) == []


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ("watch_images: 50", "epsilon: 0.2, watch_images: 50", ["evaluation.epsilon"]),
        ("validation: 200", "validation: 300", ["dataset.validation"]),
        ("compute: 3", "compute: 4", ["budget.compute"]),
        ("trials: 4", "trials: 5", ["budget.trials"]),
        ("seed: 7", "seed: 8", ["search.seed"]),
        ("sampler: random", "sampler: tpe, pruner: median", ["search.pruner.median", "search.sampler"]),
        ("[standard, fgsm_retraining]", "[fgsm_retraining, standard]", ["baselines"]),
        ("[1.0e-4, 1.0e-2]", "[1.0e-4, 2.0e-2]", ["parameters.generator.learning_rate"]),
        (", log: true", "", ["parameters.generator.learning_rate"]),
        ("[constant, adaptive]", "[adaptive, constant]", ["parameters.ratio.kind"]),
        (", when: {kind: constant}", "", ["parameters.ratio.generator_turns"]),
        ("parameters:\n", "parameters:\n  batch_size: 32\n", ["parameters.batch_size"]),
        ("name: tiny\n", "name: tiny\nobjective: {metric: pgd}\n", ["objective"]),
        ("name: tiny\n", "name: tiny\nconstraints: {clean: {min: 0.9}}\n", ["constraints.clean"]),
    ],
)
def test_what_makes_it_another_experiment_is_named(before, after, keys):
    content = edited(before, after)
    assert digest_of(content) != digest_of(LAUNCHED)
    changed = changed_keys(LAUNCHED, content)
    assert all(any(name.startswith(key) for name in changed) for key in keys), changed


def test_when_a_search_ends_and_what_a_run_occupies_may_change():
    content = edited("name: tiny\n", "name: tiny\nresources: {cpu: 2}\n")
    assert changed_keys(LAUNCHED, content) == []
    assert changeable_keys(LAUNCHED, content) == ["resources.cpu"]


def test_a_key_that_only_a_later_release_knows_is_no_change():
    later = {**LAUNCHED, "evaluation.new": 1}
    assert changed_keys(LAUNCHED, later) == []
    assert changed_keys(later, LAUNCHED) == ["evaluation.new"]
