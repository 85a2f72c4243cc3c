"""Images on the host: decided by their size, and the same numbers as on the device."""

import pytest
import torch

from trainables.config import DatasetConfig, parse
from trainables.data.tensors import load_dataset, place, placements
from trainables.training import registry

SIZES = {"train": 600, "validation": 100, "test": 300}


@pytest.mark.parametrize(
    ("memory", "wanted", "on_host"),
    [
        (2000, "auto", set()),  # 1000 are half of it
        (1999, "auto", {"train"}),
        (800, "auto", {"train"}),
        (799, "auto", {"train", "test"}),
        (199, "auto", {"train", "test", "validation"}),
        (None, "auto", set()),
        (None, "host", set(SIZES)),
        (10, "device", set()),
    ],
)
def test_the_largest_splits_make_room(memory, wanted, on_host):
    found = placements(SIZES, memory, wanted)
    assert list(found) == list(SIZES)
    assert {name for name, where in found.items() if where == "host"} == on_host


def test_the_setting_says_where_and_is_left_out_where_it_is_usual():
    assert "memory" not in DatasetConfig(name="digits").model_dump()
    config = DatasetConfig(name="digits", memory="host")
    assert config.model_dump()["memory"] == "host"
    kept = load_dataset(config)
    assert {split.used_on for split in (kept.train, kept.validation, kept.test)} == {torch.device("cpu")}
    assert kept.train.device == torch.device("cpu")


@pytest.mark.parametrize("recipe", ["pgd", "gan"])
def test_a_run_from_the_host_has_the_same_numbers(few_digits, recipe):
    settings = {
        "trainable": recipe,
        "dataset": {"name": "digits"},
        "evaluation": {"epsilon": 0.1, "watch_images": 10, "rank_images": 10},
        "classifier": {"architecture": "mlp"},
        "augmentation": {"crop": 1},
        "batch_size": 64,
        "compute": 2.0,
        **({"pretrain": 0.5, "generator": {"width": 4}} if recipe == "gan" else {}),
    }
    loops = [registry.build(parse(settings), place(few_digits, "cpu", where)) for where in ("device", "host")]
    assert loops[1].dataset.train.used_on is not None
    reports = []
    for loop in loops:
        while not loop.done:
            report = loop.step()
        reports.append({name: value for name, value in report.items() if not name.endswith("_s")})
    assert reports[0] == reports[1]
    states = [loop.classifier.state_dict() for loop in loops]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_gpu_gets_the_same_minibatches_from_the_host(few_digits):
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    resident, streamed = (place(few_digits, "cuda", where).train for where in ("device", "host"))
    assert streamed.images.device.type == "cpu"
    index = torch.randperm(len(resident))[:32]
    for ours, theirs in zip(resident.batch(index), streamed.batch(index), strict=True):
        assert theirs.is_cuda
        assert torch.equal(ours, theirs)
