"""Where runs are trained: what a space and the command line ask for, and what a cluster has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch

from search_spaces.configurations import parse_space
from search_spaces.schema import Resources
from trainables.worker.context import WorkerContext
from trainables.worker.footprint import Footprint, measure_gpu
from tuner.errors import UserError
from tuner.execution.launch import gpu_use
from tuner.execution.ray_tune import placing
from tuner.execution.ray_tune.gpu_plan import GpuMachine, RunResources
from tuner.execution.ray_tune.gpus import GpuRequest, LocalGpus, Placement, place_runs
from tuner.sweep.folder import SweepFolder
from tuner.sweep.identity import GpuUse

GOOD = Footprint(80_000.0, 1000.0)
BLIND = Footprint(problem="torch sees no GPU there")


@dataclass
class Machines:
    """A cluster of which is known what every machine answers; one without an answer never answers."""

    answers: Mapping[str, Footprint | None]
    num_gpus: int = 2
    cpus: float = 16.0
    measured: list = field(default_factory=list)

    def machines(self):
        return {name: GpuMachine(name, self.num_gpus, self.cpus) for name in self.answers}

    def measure(self, machines, settings, context):
        self.measured.append(settings)
        return {name: self.answers[name] for name in machines if self.answers[name] is not None}


def place(gpu, answers, request=None, wanted=100, pack=1, **machines) -> Placement:
    cluster = Machines(answers, **machines)
    return place_runs(
        Resources.model_validate({"gpu": gpu, "pack": pack}),
        request or GpuRequest(),
        wanted,
        lambda: {"a": 1},
        WorkerContext(),
        cluster,
    )


def test_without_gpus_nothing_is_said_or_measured():
    for gpu in ("auto", 0):
        assert place(gpu, {}) == Placement(RunResources(1.0, 0.0))
    cluster = Machines({})
    place_runs(Resources(), GpuRequest(), 9, lambda: pytest.fail("drawn"), WorkerContext(), cluster)
    assert not cluster.measured


def test_all_gpus_are_used_by_as_many_runs_as_fit():
    placement = place("auto", {"a": GOOD, "b": GOOD})
    assert placement.plan is not None
    assert (placement.plan.num_gpus, placement.resources, placement.at_once) == (4, RunResources(1.0, 0.125), None)
    (line,) = placement.lines
    assert line.startswith("GPUs: 4, 8 runs at once on each")


def test_at_most_so_many_gpus_are_used():
    placement = place("auto", {"a": GOOD, "b": GOOD}, GpuRequest(most=1))
    assert (placement.resources.gpu, placement.at_once) == (0.125, 8)
    assert place(0.25, {"a": GOOD}, GpuRequest(most=1)) == Placement(RunResources(1.0, 0.25), 4)
    assert place(0.3333, {"a": GOOD}, GpuRequest(most=2)).at_once == 6


@pytest.mark.parametrize("request_", [GpuRequest(most=2), GpuRequest(device="cuda")], ids=["--gpus", "--device"])
def test_what_is_typed_overrides_the_space(request_):
    assert place(0, {"a": GOOD}, request_).resources.gpu == 0.125


@pytest.mark.parametrize("gpu", ["auto", 0.5])
def test_no_gpu_is_used_if_none_is_to_be(gpu):
    placement = place(gpu, {"a": GOOD}, GpuRequest(most=0))
    assert placement.resources.gpu == 0
    assert placement.lines == ("2 GPUs are idle: --gpus 0 or --device cpu was asked for",)


def test_gpus_that_a_space_leaves_idle_are_told_of():
    assert place(0, {"a": GOOD}, num_gpus=1).lines == ("1 GPU is idle: the space says gpu: 0, not gpu: auto",)
    assert place(0.5, {"a": GOOD}).lines == ()


def test_gpus_that_torch_does_not_see_are_left_out_in_words():
    placement = place("auto", {"a": GOOD, "b": BLIND})
    assert placement.plan is not None
    assert placement.plan.num_gpus == 2
    assert placement.lines[0] == "2 GPUs of b are left out: torch sees no GPU there"
    alone = place("auto", {"b": BLIND})
    assert (alone.plan, alone.resources.gpu) == (None, 0.0)
    assert "of b are left out" in alone.lines[0]


def test_gpus_that_others_are_using_are_planned_without_a_measurement():
    placement = place("auto", {"a": None})
    assert placement.resources.gpu == 0.125
    assert "was not measured" in placement.lines[0]


def test_a_measurement_that_fails_is_told_and_leaves_the_other_limits():
    placement = place("auto", {"a": Footprint(80_000.0, problem="no such layer")}, cpus=4.0)
    assert placement.resources.gpu == 0.5
    assert placement.lines[0] == "what a run takes of a GPU of a was not measured: no such layer"


def test_a_run_that_takes_more_than_a_gpu_is_refused():
    with pytest.raises(UserError, match=r"more than the 8\.0 GB of a GPU of a: lower batch_size .* --gpus 0"):
        place("auto", {"a": Footprint(8000.0, fits=False)})


def test_gpus_without_processors_are_idle():
    placement = place("auto", {"a": GOOD}, cpus=0.0)
    assert placement.resources.gpu == 0
    assert placement.lines == ("2 GPUs are idle: no machine with one has 1 CPU",)


@pytest.mark.parametrize("answers", [{}, {"b": BLIND}], ids=["none", "none that works"])
def test_a_gpu_that_must_be_there_and_is_not_is_refused(answers):
    with pytest.raises(UserError, match="--device cuda: "):
        place("auto", answers, GpuRequest(device="cuda"))
    assert "--gpus 3: there is no GPU" in place("auto", {}, GpuRequest(most=3)).lines[0]


def test_what_gpus_and_device_mean_together():
    assert gpu_use(None, None) is None
    assert gpu_use(None, "auto") == GpuUse()
    assert gpu_use(None, "cpu") == gpu_use(0, None) == gpu_use(0, "cpu") == GpuUse(most=0)
    assert gpu_use(2, "cuda") == GpuUse(most=2, device="cuda")
    assert gpu_use(None, "cuda:1") == GpuUse(device="cuda:1")
    for gpus, device in ((0, "cuda"), (1, "cpu"), (2, "cuda:0")):
        with pytest.raises(UserError, match="contradict each other"):
            gpu_use(gpus, device)
    for device in ("gpu", "cuda:", "cuda:x", "CUDA", "cuda:1\n", "", "mps"):
        with pytest.raises(UserError, match="--device is auto, cpu, cuda or one like cuda:1"):
            gpu_use(None, device)
    for gpus in (-1, 1.5, True, 10**9):
        with pytest.raises(UserError, match="gpus must be"):
            gpu_use(gpus, None)


def test_a_sweep_keeps_how_it_uses_gpus(make_sweep, tmp_path, monkeypatch):
    sweep = make_sweep()
    assert "gpus" not in json.loads((sweep.folder / "sweep.json").read_text())
    sweep = sweep.extended(gpus=GpuUse(most=3, device="cuda"))
    again = SweepFolder.open("tiny", home=tmp_path)
    assert again.gpus == GpuUse(most=3, device="cuda")
    placement = Placement(RunResources(1.0, 0.125), 24, lines=("GPUs: 3",))
    monkeypatch.setattr(placing, "place_runs", lambda *arguments: placement)
    said: list[str] = []
    assert placing.place_sweep(again, 100, WorkerContext(), said.append) == placement
    assert said == ["GPUs: 3"]
    assert placing.place_sweep(replace(again, max_concurrent=2), 9, WorkerContext(), print).at_once == 2


def test_the_run_that_is_measured_is_the_heaviest_that_was_drawn():
    text = """\
name: x
trainable: gan
dataset: {name: digits, validation: 200}
budget: {trials: 4, compute: 2}
baselines: [standard]
parameters:
  batch_size: {int: [16, 512]}
"""
    settings = placing.heaviest_configuration(parse_space(text, "x.yaml"))
    assert settings["trainable"] == "gan"
    assert settings["batch_size"] > 400


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch has a GPU here")
def test_without_a_gpu_nothing_is_measured():
    assert "torch sees no GPU" in measure_gpu({}, WorkerContext()).problem
    assert LocalGpus().measure({"": GpuMachine("here", 1, 1)}, None, WorkerContext())[""].memory_mb is None


H200 = Footprint(150_100.0, 1100.0)


@pytest.mark.parametrize("request_", [GpuRequest(), GpuRequest(device="cuda")], ids=["", "--device"])
def test_a_whole_gpu_has_one_pack_by_itself(request_):
    placement = place("auto", {"a": H200}, request_, pack="auto", num_gpus=1)
    assert (placement.resources, placement.at_once) == (RunResources(1.0, 1.0, 16), None)
    assert placement.lines == (
        "GPUs: 1, a pack of 16 runs on each: more in a pack are no faster. They take about 8.6 GB of its memory of "
        "150.1 GB",
    )
    assert place(0, {"a": H200}, GpuRequest(most=1), pack="auto").resources.pack == 16  # what is typed overrides gpu: 0


def test_packs_keep_to_the_gpus_that_were_asked_for():
    placement = place("auto", {"a": H200, "b": H200}, GpuRequest(most=3), pack="auto")
    assert (placement.resources, placement.at_once) == (RunResources(1.0, 1.0, 16), 48)
    assert placement.lines[0].startswith("GPUs: 3 of 4, a pack of 16 runs on each: ")
    few = place("auto", {"a": H200, "b": H200}, GpuRequest(most=3), wanted=4, pack="auto")
    assert few.plan is not None
    assert (few.resources.pack, few.at_once, few.plan.at_once) == (2, 6, 4)  # packs on 3 GPUs, for 4 runs


@pytest.mark.parametrize(
    ("gpu", "answers", "request_", "expected"),
    [
        (0.25, {"a": GOOD}, GpuRequest(), RunResources(1.0, 0.25)),
        (1, {"a": GOOD}, GpuRequest(), RunResources(1.0, 1.0)),
        (0, {"a": GOOD}, GpuRequest(), RunResources(1.0)),
        ("auto", {}, GpuRequest(), RunResources(1.0)),
        ("auto", {"b": BLIND}, GpuRequest(), RunResources(1.0)),
        ("auto", {"a": GOOD}, GpuRequest(most=0), RunResources(1.0)),
        ("auto", {"a": None}, GpuRequest(), RunResources(1.0, 0.125)),
        ("auto", {"a": Footprint(80_000.0, problem="no such layer")}, GpuRequest(), RunResources(1.0, 0.125)),
    ],
    ids=["share", "whole GPU", "none", "no GPU", "none works", "--gpus 0", "others use it", "not measured"],
)
def test_where_no_packs_are_planned_everything_is_as_without_them(gpu, answers, request_, expected):
    placement = place(gpu, answers, request_, pack="auto")
    assert placement.resources == expected
    assert placement == place(gpu, answers, request_, pack=1)


def place_pack(gpu, answers, request=None, pack=32, **machines) -> Placement:
    return place_runs(
        Resources.model_validate({"gpu": gpu, "pack": pack}),
        request or GpuRequest(),
        100,
        lambda: {"trainable": "heaviest"},
        WorkerContext(),
        Machines(answers, **machines),
    )


@pytest.mark.parametrize("gpu", ["auto", 1])
def test_a_pack_has_a_gpu_and_its_memory_is_told(gpu):
    placement = place_pack(gpu, {"a": GOOD, "b": Footprint(40_000.0, 900.0)})
    assert (placement.resources, placement.at_once) == (RunResources(1.0, 1.0, 32), None)
    assert placement.lines == (
        "Packs: 32 runs in one process, which has 1 CPU and a GPU. They take about 13.4 GB of its memory of 40.0 GB",
    )


def test_two_packs_share_a_gpu_and_its_memory():
    placement = place_pack(0.5, {"a": GOOD}, GpuRequest(most=1), pack=16)
    assert (placement.resources, placement.at_once) == (RunResources(1.0, 0.5, 16), 32)
    assert placement.lines[0].endswith("and 0.5 of a GPU. They take about 7.0 GB of its memory of 40.0 GB")


def test_a_pack_that_does_not_fit_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"a pack of 64 runs needs about 26\.2 GB of a GPU's memory, and has 8\.0 on a"):
        place_pack(1, {"a": Footprint(8000.0, 1000.0)}, pack=64)
    with pytest.raises(UserError, match=r"needs about 13\.4 GB of a GPU's memory, and has 8\.0"):
        place_pack(0.1, {"a": GOOD})


def test_a_pack_without_a_gpu_trains_on_processors_and_says_what_that_means():
    on_processors = "Packs: 3 runs in one process, which has 1 CPU; on processors they train one after the other"
    for placement in (place_pack("auto", {}, pack=3), place_pack("auto", {"b": BLIND}, pack=3)):
        assert (placement.resources, placement.lines[-1]) == (RunResources(1.0, 0.0, 3), on_processors)
    assert place_pack("auto", {"a": GOOD}, GpuRequest(most=0), pack=3).lines[-1] == on_processors
    with pytest.raises(UserError, match=r"a pack needs a GPU, and no GPU .*\n.* of b are left out: torch sees no GPU"):
        place_pack(1, {"b": BLIND})


def test_a_pack_that_was_not_measured_says_so():
    assert place_pack(1, {"a": None}).lines[0].endswith("and a GPU. What they take of its memory was not measured")
