"""What is computed in bfloat16, and what is not."""

import pytest
import torch

from tests.support.loops import finish, tensors_of
from trainables.attacks import gradient as attacks
from trainables.errors import PrecisionError
from trainables.networks import perturbation
from trainables.training import registry
from trainables.training.machine import runtime
from trainables.training.machine.runtime import has_bfloat16, training_passes

needs_bfloat16 = pytest.mark.skipif(
    not has_bfloat16(torch.device("cpu")), reason="this processor has neither AVX512_BF16 nor AMX"
)


def test_a_processor_without_it_is_refused_before_anything_is_learnt(loop_of, monkeypatch):
    monkeypatch.setattr(runtime, "has_bfloat16", lambda device: False)
    with pytest.raises(PrecisionError, match=r"needs a processor with AVX512_BF16 or AMX.*set precision to float32"):
        loop_of("standard", precision="bfloat16")
    loop_of("standard", precision="float32")


@needs_bfloat16
@pytest.mark.parametrize("trainable", registry.LOOPS)
class TestEveryRecipe:
    def test_learns_in_it(self, trainable, loop_of):
        report = finish(loop_of(trainable, precision="bfloat16", compute=12.0, report_every=12.0))[-1]
        assert report["clean"] > 0.25

    def test_what_lasts_is_float32_and_costs_the_same(self, trainable, loop_of):
        whole, half = (loop_of(trainable, precision=name) for name in ("float32", "bfloat16"))
        for loop in (whole, half):
            loop.step()
        assert whole.meter.state() == half.meter.state()
        dtypes = [[tensor.dtype for tensor in tensors_of(loop.state())] for loop in (whole, half)]
        assert dtypes[0] == dtypes[1]
        assert torch.bfloat16 not in dtypes[1]

    def test_every_weight_learns(self, trainable, loop_of):
        loop = (
            loop_of(trainable, precision="bfloat16", pretrain=0.0)
            if trainable == "gan"
            else loop_of(trainable, precision="bfloat16")
        )
        before = [parameter.detach().clone() for parameter in loop.classifier.parameters()]
        with training_passes("bfloat16", loop.device):
            loop.train_minibatch()
            loop.train_minibatch()
        assert not any(map(torch.equal, loop.classifier.parameters(), before))


@needs_bfloat16
@pytest.mark.parametrize("trainable", ["pgd", "gan"])
def test_projection_is_in_float32_and_the_passes_are_not(loop_of, monkeypatch, trainable):
    loop = loop_of(trainable, precision="bfloat16", **({"pretrain": 0.0} if trainable == "gan" else {}))
    projected, computed = [], []
    project, gradient = perturbation.project, attacks.input_gradient
    monkeypatch.setattr(perturbation, "project", lambda *of: projected.append(project(*of)) or projected[-1])
    monkeypatch.setattr(attacks, "input_gradient", lambda net, at, *of: projected.append(at) or gradient(net, at, *of))
    layer = next(layer for layer in loop.classifier.modules() if isinstance(layer, torch.nn.Linear))
    layer.register_forward_hook(lambda layer, inputs, output: computed.append(output.dtype))
    with training_passes("bfloat16", loop.device):
        for _ in range(2):
            loop.train_minibatch()
    assert {tensor.dtype for tensor in projected} == {torch.float32}
    assert set(computed) == {torch.bfloat16}
    # Numbers that bfloat16 could not tell apart.
    assert any((tensor != tensor.bfloat16().float()).any() for tensor in projected)
    computed.clear()
    loop.evaluate("watch")
    assert set(computed) == {torch.float32}
