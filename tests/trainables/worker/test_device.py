"""Which device a run computes on, from plain values: what Ray has assigned, and what its process can see."""

from __future__ import annotations

import pytest
import torch

from trainables.training.machine.runtime import supports_bfloat16
from trainables.worker.device import assigned_device, memory_advice, prepare


@pytest.mark.parametrize(
    ("share", "ids", "visible", "expected"),
    [
        (0, [], None, "cpu"),
        (0, [], "0,1", "cpu"),
        (0, ["0"], "0", "cpu"),
        (1, ["0"], "0", "cuda:0"),
        (1, ["3"], "3", "cuda:0"),
        (0.25, ["3"], "1, 3", "cuda:1"),
        (0.25, ["3"], None, "cuda:3"),
        (2, ["2", "5"], "2,5", "cuda:0"),
        (1, ["MIG-1a"], "MIG-0c,MIG-1a", "cuda:1"),
    ],
)
def test_a_run_computes_on_what_it_was_assigned_whatever_can_be_seen(share, ids, visible, expected):
    assert assigned_device(share, ids, visible) == expected


def test_a_gpu_that_is_assigned_and_hidden_is_named():
    with pytest.raises(ValueError, match=r"GPU 2 was assigned .* CUDA_VISIBLE_DEVICES=0,1 hides it"):
        assigned_device(1, ["2"], "0,1")


def test_torch_without_cuda_is_named_and_a_cpu_needs_nothing():
    prepare("cpu", 0)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="cuda:0 was assigned to the run, but torch sees no GPU"):
            prepare("cuda:0", 1)


def test_whoever_shares_a_gpu_is_told_of_its_share():
    assert memory_advice("cuda:0", 0.25).startswith("cuda:0 has no more memory within this run's share of 0.25: raise")
    assert "lower batch_size" in memory_advice("cuda:0", 1)


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((8, 6), True), ((9, 0), True)]
)
def test_bfloat16_needs_a_gpu_from_ampere_on(capability, expected):
    assert supports_bfloat16(capability) == expected
