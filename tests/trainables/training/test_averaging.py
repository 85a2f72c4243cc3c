"""The moving average of the weights: its arithmetic, and that it is what is evaluated and exported."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.support.loops import copy_of, finish
from trainables.config import parse
from trainables.evaluation.accuracy import evaluate
from trainables.networks.bundle import read_bundle, read_checkpoint, write_from_checkpoint
from trainables.training import registry
from trainables.training.averaging import WeightAverage

AVERAGED = {"classifier": {"architecture": "mlp", "average_decay": 0.8}}


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_it_is_the_mean_of_the_weights_so_far_until_it_decays(decay):
    network = nn.Linear(1, 1, bias=False)
    average = WeightAverage(network, decay)
    expected = network.weight.item()
    for update in range(20):
        with torch.no_grad():
            network.weight.fill_(float(update))
        average.update(network)
        kept = min(decay, (1 + update) / (10 + update))
        expected = kept * expected + (1 - kept) * update
        assert average.network.weight.item() == pytest.approx(expected)
    assert not average.network.weight.requires_grad
    assert (average.network.weight.item() == 19.0) is (decay == 0.0)


@pytest.mark.parametrize("trainable", registry.LOOPS)
class TestEveryRecipe:
    def test_the_average_is_evaluated_and_training_does_not_change(self, trainable, loop_of):
        plain, averaged = loop_of(trainable, **{"classifier": {"architecture": "mlp"}}), loop_of(trainable, **AVERAGED)
        reports = finish(plain), finish(averaged)
        for one, other in zip(copy_of(plain.classifier), copy_of(averaged.classifier), strict=True):
            assert torch.equal(one, other)
        assert plain.result is plain.classifier
        assert averaged.result is averaged.average.network
        assert not torch.equal(averaged.result.body[1].weight, averaged.classifier.body[1].weight)
        assert [report["compute"] for report in reports[0]] == [report["compute"] for report in reports[1]]
        split = averaged.dataset.validation.head(averaged.config.evaluation.rank_images)
        expected = evaluate(
            averaged.result, split, epsilon=averaged.config.evaluation.epsilon, tier="rank", seed=averaged.config.seed
        )
        assert reports[1][-1]["robust"] == expected["robust"]
        assert reports[1][-1]["clean"] == expected["clean"]


class Checkpoint:
    """The checkpoint of a loop that was never written to disk."""

    def __init__(self, loop):
        self.load = lambda: {"loop": loop.state()}


def test_the_average_is_exported(loop_of, tmp_path):
    loop = loop_of("standard", **AVERAGED)
    finish(loop)
    settings = loop.config.model_dump(mode="json")
    write_from_checkpoint(tmp_path, settings, Checkpoint(loop))
    for net in (read_bundle(tmp_path)[1], read_checkpoint(loop.config, Checkpoint(loop))):
        assert torch.equal(net.body[1].weight, loop.average.network.body[1].weight)


def test_it_counts_as_memory():
    plain = registry.num_parameters(parse({"trainable": "standard"}))
    averaged = parse({"trainable": "standard", "classifier": {"average_decay": 0.9}})
    assert registry.num_parameters(averaged) == 2 * plain


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan"), "much"])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValidationError, match="average_decay"):
        parse({"trainable": "standard", "classifier": {"average_decay": decay}})
