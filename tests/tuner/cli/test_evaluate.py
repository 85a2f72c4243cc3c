"""``tuner evaluate`` of a bundle or a file: what it prints, what it refuses, and that no file makes it wait or grow."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import load_file

from trainables.storage.bundle_files import CHECKSUMS
from tuner.results.bundles.export import export_run
from tuner.sweep.snapshot import read_snapshot

FEW = ["--images", "8", "--split", "validation"]


@pytest.fixture
def bundle(trained_sweep, tmp_path):
    return export_run(read_snapshot(trained_sweep), tmp_path / "bundle", "standard")


def sign(folder):
    """Write the checksums of a bundle anew, as whoever changed it on purpose would."""
    names = [path.name for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS]
    checksums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / CHECKSUMS).write_text(json.dumps(checksums))


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestBundle:
    def test_table_and_json_say_what_was_measured_and_how(self, bundle, run):
        code, said = run("evaluate", str(bundle), *FEW, "--epsilon", "8/255", "--format", "json")
        assert code == 0
        result = json.loads(said, parse_constant=pytest.fail)["validation"]
        expected = {
            "dataset": "digits",
            "epsilon": 8 / 255,
            "images": 8,
            "tier": "rank",
            "seed": 3,
            "split": "validation",
        }
        assert {name: result[name] for name in expected} == expected
        assert 0 <= result["robust"] <= result["clean"] <= 1
        code, said = run("evaluate", str(bundle), *FEW)
        assert code == 0
        assert "digits, epsilon 0.2, tier rank, seed 3" in said.replace("\n", " ")
        assert "recorded (validation)" in said

    @pytest.mark.parametrize("option", ["--dataset mnist", "--architecture mlp", "--mean 0.1", "--std 0.3"])
    def test_options_of_a_file_are_refused(self, bundle, run, option):
        code, said = run("evaluate", str(bundle), *option.split())
        assert (code, f"{option.split()[0]} cannot be used here" in said) == (2, True)

    @pytest.mark.parametrize("threads", [10**9, 0, -1, 2.5, "all", None])
    def test_a_number_of_threads_that_no_machine_has(self, bundle, run, threads):
        change(bundle / "provenance.json", num_threads=threads)
        sign(bundle)
        code, said = run("evaluate", str(bundle), *FEW)
        assert (code, "Traceback" in said) == (2, False)
        assert (
            f"{bundle} is no bundle that `tuner export` or `tuner train` wrote: provenance.json: num_threads: " in said
        )
        assert len(said.splitlines()) == 1

    @pytest.mark.parametrize("name", ["configuration.json", "metrics.json", "provenance.json", CHECKSUMS])
    @pytest.mark.parametrize("text", ["[" * 50_000, '{"metrics": {"clean": NaN}}', "[1]", "\udcff", "{}"])
    def test_a_json_file_that_is_something_else(self, bundle, run, name, text):
        (bundle / name).write_bytes(text.encode(errors="surrogateescape"))
        if name != CHECKSUMS:
            sign(bundle)
        code, said = run("evaluate", str(bundle), *FEW)
        assert (code, "Traceback" in said) == (2, False)
        assert str(bundle) in said.replace("\n", "")

    @pytest.mark.parametrize(
        "name", ["configuration.json", "metrics.json", "provenance.json", "classifier.safetensors"]
    )
    def test_a_pipe_in_place_of_any_file(self, bundle, run, name):
        (bundle / name).unlink()
        os.mkfifo(bundle / name)
        code, said = run("evaluate", str(bundle), *FEW)
        assert (code, "not a regular file" in said) == (2, True)

    def test_weights_of_another_bundle_are_noticed(self, trained_sweep, bundle, run, tmp_path):
        other = export_run(read_snapshot(trained_sweep), tmp_path / "other", "fgsm_retraining")
        (other / "classifier.safetensors").replace(bundle / "classifier.safetensors")
        code, said = run("evaluate", str(bundle), *FEW)
        assert (code, "classifier.safetensors was changed after it was written" in said.replace("\n", " ")) == (2, True)
        (bundle / CHECKSUMS).unlink()
        code, said = run("evaluate", str(bundle), *FEW)
        assert (code, f"lacks its file {CHECKSUMS}" in said) == (2, True)

    def test_of_an_earlier_release_has_no_checksums_and_is_read(self, bundle, run):
        change(bundle / "provenance.json", format=1)
        (bundle / CHECKSUMS).unlink()
        assert run("evaluate", str(bundle), *FEW)[0] == 0

    def test_accuracy_far_below_what_a_bundle_states_is_said(self, bundle, run):
        (bundle / CHECKSUMS).unlink()
        measured = json.loads((bundle / "metrics.json").read_text())
        change(bundle / "provenance.json", format=1)
        change(bundle / "metrics.json", metrics={**measured["metrics"], "clean": 0.999})
        code, said = run("evaluate", str(bundle), *FEW)
        assert (code, "far below the 99.9 % that the file states" in said) == (0, True)


class TestFile:
    @pytest.fixture
    def weights(self, bundle):
        tensors = load_file(bundle / "classifier.safetensors")
        return {name.removeprefix("body."): tensor for name, tensor in tensors.items()}

    def test_how_it_was_understood_is_said_in_lines(self, weights, run, tmp_path):
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}, tmp_path / "net.pt")
        code, said = run("evaluate", "net.pt", "--dataset", "digits", "--mean", "0.3", "--std", "0.4", *FEW)
        assert code == 0
        for line in (
            "note: the weights are those under the key 'state_dict'",
            "note: the names of the tensors are read without their prefix 'module.'",
            "note: the architecture is mlp",
            "note: images are normalised with mean 0.3 and std 0.4, as asked for",
        ):
            assert line in said.splitlines()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--std", "0"], "must be from 0.001 to 10, not 0"),
            (["--std", "nan"], "must be from 0.001 to 10, not nan"),
            (["--mean", "33.3"], "divide one for pixels of 0 to 255 by 255"),
            (["--mean", "0.48,0.45,0.4"], "images have one channel"),
            (["--mean", "much"], "must be a number like 0.3 or 8/255"),
        ],
    )
    def test_a_normalisation_that_cannot_be(self, weights, run, tmp_path, options, words):
        torch.save(weights, tmp_path / "net.pt")
        code, said = run("evaluate", "net.pt", "--dataset", "digits", *options, *FEW)
        assert code == 2
        assert words in said

    def test_weights_that_are_not_finite_are_refused_by_name(self, weights, run, tmp_path):
        weights["3.weight"][0, 0] = torch.nan
        torch.save(weights, tmp_path / "net.pt")
        code, said = run("evaluate", "net.pt", "--dataset", "digits", *FEW)
        assert (code, "3.weight are NaN or infinite" in said) == (2, True)

    def test_no_escape_code_of_a_file_reaches_the_terminal(self, weights, run, tmp_path):
        evil = "\x1b[2J\x1b]0;title\x07"
        torch.save({f"{evil}{name}": tensor for name, tensor in weights.items()}, tmp_path / "net.pt")
        torch.save({f"{evil}.{name}": tensor for name, tensor in weights.items()}, tmp_path / f"{evil}.pt")
        torch.save(torch.zeros(1), tmp_path / f"{evil}.none")
        outputs = [
            run("evaluate", name, "--dataset", "digits", *FEW) for name in ("net.pt", f"{evil}.pt", f"{evil}.none")
        ]
        assert [code for code, _ in outputs] == [2, 0, 2]
        for _, said in outputs:
            assert "\x1b[2J" not in said
            assert "\x07" not in said
            assert r"\x1b[2J" in said

    def test_a_pipe_is_refused(self, run, tmp_path):
        os.mkfifo(tmp_path / "net.pt")
        code, said = run("evaluate", "net.pt")
        assert (code, "not a regular file" in said) == (2, True)

    def test_a_configuration_that_is_a_pipe_trains_nothing(self, run, tmp_path):
        os.mkfifo(tmp_path / "net.json")
        code, said = run("train", "net.json")
        assert (code, "not a regular file" in said) == (2, True)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"images": NaN}', b"[" * 50_000])
def test_saved_results_that_are_no_json_are_named(trained_sweep, run, tmp_path, content):
    path = trained_sweep.folder / "baselines" / "standard" / "final.json"
    path.write_bytes(content)
    code, said = run("evaluate", "real", "--images", "4", "--home", str(tmp_path))
    assert (code, "Traceback" in said) == (2, False)
    assert "final.json is damaged" in said.replace("\n", "")
