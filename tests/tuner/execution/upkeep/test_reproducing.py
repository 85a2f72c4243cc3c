"""A bundle's configuration trained again: equal to the last bit here, and in words what differs elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from trainables.networks.bundle import read_bundle, write_classifier
from trainables.storage.bundle_files import write_checksums
from tuner.execution.single import read_configuration, train
from tuner.execution.upkeep.reproducing import reproduce

SMALL = (
    *("dataset.name=digits", "dataset.validation=200", "evaluation.rank_images=30", "evaluation.watch_images=20"),
    *("classifier.architecture=mlp", "compute=0.5"),
)


def change(bundle: Path, name: str, **content: object) -> None:
    """Write other content into a JSON file of a bundle, with its checksum."""
    path = bundle / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
    write_checksums(bundle, name)


def change_weights(bundle: Path) -> None:
    config, classifier = read_bundle(bundle)
    with torch.no_grad():
        next(classifier.parameters()).view(-1)[0] += 0.25
    write_classifier(bundle, config.model_dump(mode="json"), classifier.state_dict())


def test_a_run_of_a_sweep_is_equal_to_the_last_bit(bundle, run):
    code, out = run("reproduce", str(bundle))
    assert code == 0, out
    assert "every weight and every recorded number is equal" in " ".join(out.split())


def test_other_weights_and_numbers_are_told(bundle, run):
    change_weights(bundle)
    metrics = json.loads((bundle / "metrics.json").read_text())["metrics"]
    change(bundle, "metrics.json", metrics={**metrics, "clean": 0.125})
    code, out = run("reproduce", str(bundle), "--format", "json")
    found = json.loads(out)
    assert (code, found["has_equal_weights"], found["holds"], found["elsewhere"]) == (2, False, False, [])
    assert found["largest_difference"] == pytest.approx(0.25)
    assert found["metrics"] == {"clean": [0.125, metrics["clean"]]}
    code, out = run("reproduce", str(bundle))
    assert code == 2
    assert "its weights differ by up to 0.25" in out
    assert "clean: 12.5 % is recorded" in out
    assert "so it should be equal" in " ".join(out.split())


def test_elsewhere_a_few_points_are_allowed_and_more_are_not(bundle):
    change_weights(bundle)
    change(bundle, "provenance.json", processor="Abacus 3000", versions={"torch": "1.0"})
    found = reproduce(bundle, None, lambda metrics: None)
    assert (found.holds, found.is_equal) == (True, False)
    text = " ".join(found.sentences())
    assert "the processor was Abacus 3000; torch was 1.0, and is" in text
    assert "That is within 5 points" in text
    recorded = json.loads((bundle / "metrics.json").read_text())["metrics"]
    change(bundle, "metrics.json", metrics={**recorded, "clean": recorded["clean"] - 0.2})
    found = reproduce(bundle, None, lambda metrics: None)
    assert not found.holds
    assert "That is more than 5 points" in " ".join(found.sentences())


def test_what_is_no_bundle_is_refused(bundle, run):
    code, out = run("reproduce", "nowhere")
    assert code == 2
    assert "nowhere is no bundle here" in " ".join(out.split())
    change(bundle, "configuration.json", seed=5)
    (bundle / "checksums.json").write_text("{}")
    code, out = run("reproduce", str(bundle))
    assert code == 2
    assert "was changed after it was written" in " ".join(out.split())


def test_a_run_with_averaged_weights_has_the_average_in_its_bundle(tmp_path):
    settings = read_configuration("standard", [*SMALL, "classifier.average_decay=0.9"])
    bundle = train(settings, tmp_path / "averaged", None, lambda metrics: None)
    assert reproduce(bundle, None, lambda metrics: None).is_equal
    from tuner.results.bundles.check import verify_bundle

    assert verify_bundle(bundle) == []
