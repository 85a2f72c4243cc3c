"""What a sweep is: the digest of its space, and which keys of an edited one have changed."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from search_spaces.configurations import parse_launched_space, parse_space
from tests.tuner.conftest import SPACE
from trainables.storage.atomic import write_json
from tuner.sweep.folder import SweepFolder
from tuner.sweep.identity import LaunchedSpace, changeable_keys, changed_keys, content_of, digest_of, read_space

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


@pytest.mark.parametrize(("written", "expected"), [("", None), ("auto", None), ("0", 0), ("0.25", 0.25), ("2", 2)])
def test_a_sweep_keeps_the_gpus_that_it_was_launched_with(written, expected):
    text = SPACE + (f"resources: {{gpu: {written}}}\n" if written else "")
    launched = LaunchedSpace(content_of(parse_launched_space(text, "tiny.yaml", gpu=None)), text)
    space, edited_keys = read_space(text, Path("tiny.yaml"), launched)
    assert (space.resources.gpu, edited_keys) == (expected, ())
    without, _ = read_space(SPACE, Path("tiny.yaml"), launched)
    assert without.resources.gpu == expected
    assert read_space(SPACE, Path("tiny.yaml"), None)[0].resources.gpu == 0  # of an earlier release


@pytest.mark.parametrize(("written", "expected"), [("", None), ("auto", None), ("1", 1), ("8", 8)])
def test_a_sweep_keeps_the_packs_that_it_was_launched_with(written, expected):
    text = SPACE + (f"resources: {{pack: {written}}}\n" if written else "")
    content = content_of(parse_space(text, "tiny.yaml"))
    assert content["resources.pack"] == expected
    assert read_space(SPACE, Path("tiny.yaml"), LaunchedSpace(content, text))[0].resources.pack == expected
    assert read_space(text, Path("tiny.yaml"), LaunchedSpace(content, text)) == (parse_space(text, "tiny.yaml"), ())
    before = {key: value for key, value in content.items() if key != "resources.pack"}
    for earlier in (None, LaunchedSpace(before, SPACE), LaunchedSpace({**before, "resources.pack": 1}, SPACE)):
        assert read_space(SPACE, Path("tiny.yaml"), earlier)[0].resources.pack == 1  # as releases before packs


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


def launched_by_an_earlier_release(sweep, pruner: str, rung: float | None, sweep_format: int = 3) -> SweepFolder:
    """Let a sweep be as an earlier release wrote it, when rungs might lie within the pretraining; and open it."""
    text = SPACE.replace("seed: 7", f"seed: 7, pruner: {pruner}").replace(
        "parameters:\n", "parameters:\n  pretrain: 2.5\n"
    )
    (sweep.folder / "space.yaml").write_text(text)
    path = sweep.folder / "sweep.json"
    meta = json.loads(path.read_text())
    content = dict(content_of(parse_launched_space(text, "space.yaml")))
    del content["search.accept_early_rungs"]
    if rung is not None:
        content = {key: rung if key.endswith(".min_resource") else value for key, value in content.items()}
    meta |= {"format": sweep_format, "space": {"sha256": digest_of(content), "content": content, "text": text}}
    old = {key: value for key, value in meta.items() if sweep_format == 3 or key not in ("space", "location")}
    old.pop("sha256", None)
    write_json(path, old)
    return SweepFolder.open(sweep.name, home=sweep.folder.parent)


@pytest.mark.parametrize("sweep_format", [1, 2, 3])
@pytest.mark.parametrize(
    ("pruner", "rung"),
    [
        ("successive_halving", 1),
        ("{successive_halving: {min_resource: 2, reduction_factor: 2}}", 2),
        ("{hyperband: {reduction_factor: 2}}", 1),
        ("median", 0),
    ],
)
def test_a_sweep_of_an_earlier_release_keeps_the_rung_it_began_with(make_sweep, pruner, rung, sweep_format):
    opened = launched_by_an_earlier_release(make_sweep(), pruner, None, sweep_format)
    assert opened.space.search.pruner.first_rung == rung
    opened.check_space()
    opened = opened.extended(6)
    again = SweepFolder.open("tiny", home=opened.folder.parent)
    assert (again.space, again.edited_keys, again.num_trials) == (opened.space, (), 6)


def test_a_sweep_keeps_its_rung_when_the_rule_becomes_another(make_sweep):
    """What is kept is the number, whatever a later release would make of the text."""
    opened = launched_by_an_earlier_release(make_sweep(), "successive_halving", 2.0)
    assert opened.space.search.pruner.first_rung == 2
    opened.check_space()
