"""How runs share GPUs: what is planned never takes more than there is, and names what keeps more runs away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import UserError
from tuner.execution.ray_tune.capacity import num_fitting
from tuner.execution.ray_tune.gpu_plan import MARGIN, MOST_IN_PACK, MOST_PER_GPU, GpuMachine, pack_mb, plan_gpus

H200 = GpuMachine("a", 1, 16, 141_000.0)

PLANS = {
    "more processes are no faster": ([H200], 1, 100, 700.0, None, (1, 8, 8, "processes")),
    "few processors": ([GpuMachine("a", 2, 6, 80_000.0)], 1, 100, 700.0, None, (2, 3, 6, "processors")),
    "fewer processors than GPUs": ([GpuMachine("a", 4, 2, 80_000.0)], 1, 100, 700.0, None, (4, 1, 2, "processors")),
    "little memory": ([GpuMachine("a", 1, 16, 8000.0)], 1, 100, 2000.0, None, (1, 3, 3, "memory")),
    "memory for one": ([GpuMachine("a", 1, 16, 8000.0)], 1, 100, 7900.0, None, (1, 1, 1, "memory")),
    "few runs, which use every GPU": ([GpuMachine("a", 2, 16, 80_000.0)], 1, 4, 700.0, None, (2, 2, 4, "runs")),
    "the smallest GPU decides": ([H200, GpuMachine("b", 1, 16, 4000.0)], 1, 99, 1000.0, None, (2, 3, 6, "memory")),
    "at most so many GPUs": ([GpuMachine("a", 4, 64, 80_000.0)], 1, 100, 700.0, 2, (2, 8, 16, "processes")),
    "more than there are": ([H200], 1, 100, 700.0, 9, (1, 8, 8, "processes")),
    "a run not measured": ([GpuMachine("a", 1, 4)], 1, 100, None, None, (1, 4, 4, "processors")),
    "a machine without processors": ([H200, GpuMachine("b", 8, 0, 141_000.0)], 1, 9, 1.0, None, (1, 8, 8, "processes")),
}


@pytest.mark.parametrize("what", PLANS)
def test_runs_share_gpus(what):
    machines, cpu, wanted, run_mb, most, expected = PLANS[what]
    plan = plan_gpus(machines, cpu, wanted, run_mb=run_mb, max_gpus=most)
    assert plan is not None
    assert (plan.num_gpus, plan.per_gpu, plan.at_once, plan.limit) == expected


FOUR = GpuMachine("a", 4, 64, 80_000.0)

PACKS = {
    "more in a pack are no faster": ([H200], 100, 1100.0, None, (1, 16, 16, "pack")),
    "one processor is enough": ([GpuMachine("a", 1, 1, 80_000.0)], 100, 1100.0, None, (1, 16, 16, "pack")),
    "a pack on each": ([FOUR, H200], 100, 1100.0, None, (5, 16, 80, "pack")),
    "little memory": ([GpuMachine("a", 1, 16, 8000.0)], 100, 1500.0, None, (1, 6, 6, "memory")),
    "the smallest GPU decides": ([FOUR, GpuMachine("b", 1, 9, 4000.0)], 99, 1500.0, None, (5, 2, 10, "memory")),
    "few runs, which use every GPU": ([FOUR], 7, 1100.0, None, (4, 2, 7, "runs")),
    "at most so many GPUs": ([FOUR], 100, 1100.0, 2, (2, 16, 32, "pack")),
    "few runs on so many GPUs": ([FOUR], 7, 1100.0, 2, (2, 4, 7, "runs")),
    "fewer processors than GPUs": ([GpuMachine("a", 4, 2, 80_000.0)], 6, 1100.0, None, (2, 3, 6, "runs")),
}


@pytest.mark.parametrize("what", PACKS)
def test_a_gpu_has_one_pack(what):
    machines, wanted, run_mb, most, expected = PACKS[what]
    plan = plan_gpus(machines, 1, wanted, run_mb=run_mb, max_gpus=most, in_packs=True)
    assert plan is not None
    assert plan.in_packs
    assert (plan.num_gpus, plan.per_gpu, plan.at_once, plan.limit) == expected
    assert (plan.resources.gpu, plan.resources.pack) == (1.0, expected[1])


@pytest.mark.parametrize(
    ("machine", "wanted", "run_mb"),
    [
        (H200, 1, 1100.0),
        (FOUR, 4, 1100.0),
        (GpuMachine("a", 1, 16, 8000.0), 9, 3600.0),
        (H200, 9, None),
        (GpuMachine("a", 1, 16), 9, 1100.0),
    ],
    ids=["one run", "one run each", "memory for one", "run not measured", "memory not known"],
)
def test_a_pack_of_one_run_is_none(machine, wanted, run_mb):
    plan = plan_gpus([machine], 1, wanted, run_mb=run_mb, in_packs=True)
    assert plan is not None
    assert plan == plan_gpus([machine], 1, wanted, run_mb=run_mb)
    assert plan.resources.pack == 1


def test_without_processors_beside_it_no_gpu_is_used():
    assert plan_gpus([], 1, 5) is None
    assert plan_gpus([GpuMachine("a", 2, 1)], 2, 5) is None


def test_a_run_that_no_gpu_holds_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"needs about 9\.0 GB of a GPU's memory, and a GPU of b has 8\.0"):
        plan_gpus([H200, GpuMachine("b", 1, 4, 8000.0)], 1, 5, run_mb=9000.0)


def test_the_plan_is_a_sentence():
    plan = plan_gpus([GpuMachine("a", 4, 64, 141_000.0)], 1, 100, run_mb=1240.0, max_gpus=2)
    assert plan is not None
    assert plan.describe() == (
        "GPUs: 2 of 4, 8 runs at once on each (0.125 of a GPU per run): more processes on a GPU are no faster. A run "
        "takes about 1.2 GB of its memory of 141.0 GB"
    )


@st.composite
def clusters(draw):
    machine = st.builds(
        GpuMachine,
        st.sampled_from("abc"),
        st.integers(1, 8),
        st.integers(0, 64).map(float),
        st.none() | st.floats(1000, 200_000),
    )
    return draw(st.lists(machine, max_size=4))


@given(
    clusters(),
    st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
    st.integers(1, 200),
    st.none() | st.floats(1, 150_000),
    st.none() | st.integers(1, 20),
    st.booleans(),
)
def test_no_plan_takes_more_than_there_is(machines, cpu, wanted, run_mb, most, in_packs):
    able = [machine for machine in machines if machine.cpus >= cpu]
    known = [machine.memory_mb for machine in able if machine.memory_mb is not None]
    try:
        plan = plan_gpus(machines, cpu, wanted, run_mb=run_mb, max_gpus=most, in_packs=in_packs)
    except UserError:
        assert run_mb is not None
        assert run_mb > min(known)
        return
    if plan is None:
        assert not able
        return
    assert 1 <= plan.num_gpus <= min(sum(machine.num_gpus for machine in able), most or 999)
    assert 1 <= plan.per_gpu <= (MOST_IN_PACK if plan.in_packs else MOST_PER_GPU)
    assert 0 < plan.share * plan.per_gpu / plan.resources.pack <= 1
    # What Ray's own arithmetic lets run at once is what was planned, and never less than one.
    there = [{"CPU": machine.cpus, "GPU": float(machine.num_gpus)} for machine in machines]
    fitting = num_fitting(plan.resources, there) * plan.resources.pack
    assert 1 <= plan.at_once <= min(fitting, wanted, plan.num_gpus * plan.per_gpu)
    if most is None and wanted >= fitting:
        assert plan.at_once == fitting
    if plan.in_packs:
        assert run_mb is not None
        assert min(known) >= MARGIN * pack_mb(run_mb, plan.per_gpu)
        assert plan.per_gpu > 1
    elif run_mb is not None and known and plan.per_gpu > 1:
        assert plan.share * min(known) * 1.001 >= MARGIN * run_mb
    if plan.limit == "runs":
        assert plan.num_gpus * plan.per_gpu >= wanted
