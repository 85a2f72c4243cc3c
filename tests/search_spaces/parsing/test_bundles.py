"""Bundles in a space: the configuration of an exported run as one that is tried first, and as a baseline."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from search_spaces import Space, SpaceError
from search_spaces.checks.assignments import assign
from search_spaces.configurations import configuration_for, load_space, parse_space, with_bundles
from search_spaces.library import names, text_of
from tests.search_spaces.test_configurations import random_value
from trainables.config import parse
from trainables.storage.bundle_files import write_checksums

HEAD = """\
name: x
trainable: gan
dataset: {name: digits, validation: 200}
budget: {trials: 4, compute: 5}
"""
PARAMETERS = """\
parameters:
  clean_weight: {float: [0.0, 1.0]}
  batch_size: {choice: [32, 128]}
  generator: {learning_rate: {float: [1.0e-4, 1.0e-2]}, loss: {choice: [wrongness, margin]}}
  ratio: {choice: {even: {kind: constant, generator_turns: 1}, uneven: {kind: stepped, steps: [1, 3]}}}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_bundle(folder: Path, settings: dict) -> dict:
    """Write the configuration of a run as a bundle has it, and return it."""
    folder.mkdir(parents=True)
    complete = parse(settings).model_dump(mode="json")
    (folder / "configuration.json").write_text(json.dumps(complete))
    write_checksums(folder, "configuration.json")
    return complete


def space_of(rest: str) -> Space:
    return parse_space(HEAD + rest, "x.yaml")


def first_configurations(space: Space) -> list[dict]:
    """Return the complete settings of the configurations that a space tries first."""
    return [
        configuration_for(space, space.settings(lambda one, values=values: values[one.name]), seed=7)
        for values in space.first_parameters()
    ]


def refusals(rest: str) -> str:
    with pytest.raises(SpaceError) as refused:
        space_of(rest)
    return str(refused.value)


@pytest.mark.parametrize("name", [name for name in names() if load_space(name).search.sampler != "grid"])
def test_a_run_of_a_packaged_space_is_taken_back_as_it_was(name, tmp_path):
    space, rng = load_space(name), random.Random(0)
    for number in range(8):
        settings = space.settings(lambda one: random_value(one.domain, rng))
        wanted = write_bundle(tmp_path / f"b{number}", configuration_for(space, settings, seed=7))
        text = assign(text_of(name)[0], name, [f"first=[{{bundle: b{number}}}]"])
        assert first_configurations(parse_space(text, "space.yaml")) == [wanted]


def test_what_all_runs_share_is_that_of_the_space(tmp_path):
    write_bundle(tmp_path / "b", {"trainable": "gan", "seed": 3, "compute": 9, "evaluation": {"epsilon": 0.1}})
    space = space_of(f"{PARAMETERS}first: [{{bundle: b}}]\n")
    (configuration,) = first_configurations(space)
    assert (configuration["seed"], configuration["compute"]) == (7, 5)
    assert configuration["evaluation"]["epsilon"] == 0.3


def test_a_change_goes_over_it(tmp_path):
    write_bundle(tmp_path / "b", {"trainable": "gan", "generator": {"loss": "margin"}})
    space = space_of(f"{PARAMETERS}first: [{{bundle: b, clean_weight: 0.25, ratio: uneven}}]\n")
    (configuration,) = first_configurations(space)
    assert (configuration["clean_weight"], configuration["generator"]["loss"]) == (0.25, "margin")
    assert configuration["ratio"]["steps"] == [1, 3]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"generator": {"width": 16}},
            "first[0].bundle: generator.width is 16 there and 32 in this space: let it vary",
        ),
        ({"batch_size": 64}, "first[0].batch_size: must be one of 32, 128, not 64"),
        ({"generator": {"loss": "cross_entropy"}}, "first[0].generator.loss: must be one of 'wrongness', 'margin'"),
        ({"ratio": {"kind": "stepped", "steps": [1, 2]}}, "first[0].ratio"),
    ],
)
def test_one_that_does_not_fit_names_the_keys(tmp_path, settings, words):
    write_bundle(tmp_path / "b", {"trainable": "gan", **settings})
    assert words in refusals(f"{PARAMETERS}first:\n  - bundle: b\n")


def test_what_is_no_bundle_is_refused_with_its_line(tmp_path):
    write_bundle(tmp_path / "other", {"trainable": "pgd"})
    write_bundle(tmp_path / "changed", {"trainable": "gan"})
    (tmp_path / "changed" / "configuration.json").write_text("{}")
    for name, content in {
        "empty": "",
        "text": "hello",
        "list": "[]",
        "wrong": '{"trainable": "gan", "compute": -1}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "configuration.json").write_text(content)
    bundles = {
        "other": "is a run of pgd, and gan is searched: it can be one of the baselines",
        "changed": "changed after it was written",
        "empty": "is no bundle",
        "text": "is no bundle",
        "list": "is no bundle",
        "wrong": "compute: Input should be greater than",
        "nowhere": "does not exist",
        "s3://bucket/b": "is a URL: copy the bundle",
        "7": "must be the path of a bundle's folder, not 7",
        "''": "must be the path of a bundle's folder, not ''",
    }
    lines = refusals(PARAMETERS + "first:\n" + "".join(f"  - bundle: {each}\n" for each in bundles)).splitlines()
    for number, (line, words) in enumerate(zip(lines, bundles.values(), strict=True)):
        assert f"x.yaml:{number + 11}: first[{number}].bundle: " in line
        assert words in line


def test_a_baseline_has_the_name_of_the_folder_and_all_its_settings(tmp_path):
    bundle = write_bundle(tmp_path / "exports" / "best", {"trainable": "pgd", "batch_size": 32})
    named = "[standard, {bundle: exports/best}, {bundle: exports/best, name: b, batch_size: 64}]"
    space = space_of(f"{PARAMETERS}baselines: {named}\n")
    assert [each.name for each in space.baselines] == ["standard", "best", "b"]
    assert [each.trainable for each in space.baselines[1:]] == ["pgd", "pgd"]
    assert [each.settings["batch_size"] for each in space.baselines[1:]] == [32, 64]
    assert space.baselines[1].settings["attack"] == bundle["attack"]
    assert "compute" not in space.baselines[1].settings
    (tmp_path / "Best").symlink_to(tmp_path / "exports" / "best")
    assert "a name is 1 to 63 lower-case letters" in refusals("baselines: [{bundle: Best}]\n")
    assert "remove it" in refusals("baselines: [{bundle: exports/best, trainable: pgd}]\n")


def test_a_path_is_seen_from_the_folder_of_the_space(tmp_path):
    write_bundle(tmp_path / "spaces" / "b", {"trainable": "pgd"})
    path = tmp_path / "spaces" / "x.yaml"
    path.write_text(f"{HEAD}baselines: [{{bundle: b}}, {{bundle: b/configuration.json, name: c}}]\n")
    assert [each.name for each in load_space(str(path)).baselines] == ["b", "c"]


def test_a_launched_space_does_not_need_its_bundles_any_more(tmp_path):
    write_bundle(tmp_path / "b", {"trainable": "gan", "clean_weight": 0.25})
    text = f"{HEAD}{PARAMETERS}first: [{{bundle: b}}] # the best of May\nbaselines: [{{bundle: b}}]\n"
    before = parse_space(text, "x.yaml")
    kept = with_bundles(before, text, "x.yaml")
    assert "# the best of May" in kept
    (tmp_path / "b").rename(tmp_path / "gone")
    assert parse_space(kept, "x.yaml") == before
    with pytest.raises(SpaceError, match="does not exist"):
        parse_space(text, "x.yaml")
    with pytest.raises(SpaceError, match="bundle: holds no configuration: clean_weight"):
        parse_space(kept.replace("clean_weight: 0.25", "clean_weight: 7"), "x.yaml")
