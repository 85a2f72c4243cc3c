"""The strided convolution: everything as `torch.nn.Conv2d` has it, whatever gradient is asked for and however."""

import copy

import pytest
import torch
from torch import nn

from trainables.networks.architectures.strided_convolution import StridedConvolution
from trainables.networks.classifiers import small_cnn
from trainables.training.compute import ComputeMeter

SHAPES = {
    "as in small_cnn": ((1, 4, 4, 2, 1), (2, 1, 28, 28)),
    "odd sizes": ((1, 2, 4, 2, 1), (2, 1, 7, 9)),
    "three channels": ((3, 2, 4, 2, 0), (1, 3, 9, 8)),
    "stride of three, rest at the end": ((2, 2, 6, 3, 2), (2, 2, 11, 13)),
    "no overlap": ((1, 2, 2, 2, 0), (3, 1, 5, 5)),
    "padding above the stride": ((1, 2, 4, 2, 3), (3, 1, 5, 6)),
    "stride of one": ((1, 2, 3, 1, 1), (2, 1, 5, 5)),
    "no images": ((1, 2, 4, 2, 1), (0, 1, 8, 8)),
    "even sizes without padding": ((2, 3, 4, 2, 0), (2, 2, 8, 6)),
    "even sizes, padding of the stride": ((2, 3, 4, 2, 2), (2, 2, 6, 8)),
    "even sizes, padding above the stride": ((2, 3, 2, 2, 3), (2, 2, 8, 6)),
    "second layer of small_cnn": ((16, 32, 4, 2, 1), (2, 16, 14, 14)),
    "many channels of an odd size": ((16, 2, 4, 2, 1), (2, 16, 7, 6)),
}


def random(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def pair(channels, output_channels, kernel_size, stride, padding, dtype=torch.float64):
    """Return the convolution and the ordinary one with the same weights."""
    fast = StridedConvolution(channels, output_channels, kernel_size, stride=stride, padding=padding).to(dtype)
    ordinary = nn.Conv2d(channels, output_channels, kernel_size, stride=stride, padding=padding).to(dtype)
    ordinary.load_state_dict(fast.state_dict())
    return fast, ordinary


def gradients(layer, images, *, create_graph=False):
    output = layer(images)
    return torch.autograd.grad(
        output, [images, *layer.parameters()], random(*output.shape, dtype=output.dtype), create_graph=create_graph
    )


def num_operations(network, images, wanted):
    """Return how many operations the gradients of what is wanted take, the forward pass included."""
    meter = ComputeMeter(flops_per_epoch=1.0)
    meter.run("gradients", 1, lambda: torch.autograd.grad(network(images).sum(), wanted))
    return meter.compute


@pytest.mark.parametrize(("layer", "size"), SHAPES.values(), ids=SHAPES)
class TestEveryShape:
    def test_output_and_gradients_are_those_of_the_ordinary_one(self, layer, size):
        fast, ordinary = pair(*layer)
        images = random(*size).requires_grad_()
        assert torch.equal(fast(images), ordinary(images))
        for found, expected in zip(gradients(fast, images), gradients(ordinary, images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    def test_so_are_second_derivatives(self, layer, size):
        fast, ordinary = pair(*layer)
        images = random(*size).requires_grad_()
        second = []
        for each in (fast, ordinary):
            total = sum(gradient.pow(3).sum() for gradient in gradients(each, images, create_graph=True))
            second.append(torch.autograd.grad(total, [images, each.weight], materialize_grads=True))
        for found, expected in zip(*second, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)

    def test_so_are_counted_operations(self, layer, size):
        images, counts = random(*size).requires_grad_(), []
        for each in pair(*layer):
            counts.append([num_operations(each, images, wanted) for wanted in ([images], [images, each.weight])])
        assert counts[0] == counts[1]


def test_gradients_are_the_derivatives():
    fast, _ = pair(2, 3, 4, 2, 1)
    parameters = (parameter.detach().requires_grad_() for parameter in fast.parameters())
    inputs = (random(2, 2, 5, 6).requires_grad_(), *parameters)

    def convolve(images, weight, bias):
        return torch.func.functional_call(fast, {"weight": weight, "bias": bias}, (images,))

    assert torch.autograd.gradcheck(convolve, inputs)
    assert torch.autograd.gradgradcheck(convolve, inputs)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (16, 14)])
def test_the_gradient_of_the_images_differs_by_rounding_only(channels, size):
    fast, ordinary = pair(channels, 16, 4, 2, 1, dtype=torch.float32)
    images = random(16, channels, size, size, dtype=torch.float32).requires_grad_()
    found, expected = gradients(fast, images)[0], gradients(ordinary, images)[0]
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert torch.equal(found, gradients(fast, images)[0])


def test_what_is_not_asked_for_is_not_computed():
    net, images = small_cnn((1, 28, 28), 10), random(4, 1, 28, 28, dtype=torch.float32).requires_grad_()
    layers = 2 * len(images) * (14 * 14 * 16 * 16 + 7 * 7 * 32 * 256 + 32 * 7 * 7 * 100 + 100 * 10)
    assert num_operations(net, images, [images]) == 2 * layers
    assert num_operations(net, images, [images, *net.parameters()]) == 3 * layers


def test_frozen_weights_get_no_gradient():
    fast, ordinary = pair(1, 2, 4, 2, 1)
    for parameter in fast.parameters():
        parameter.requires_grad_(False)
    images = random(2, 1, 8, 8).requires_grad_()
    fast(images).square().sum().backward()
    (expected,) = torch.autograd.grad(ordinary(images).square().sum(), images)
    torch.testing.assert_close(images.grad, expected)
    assert fast.weight.grad is None


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (16, 14)])
def test_under_autocast_gradients_are_those_of_the_ordinary_one(channels, size):
    fast, ordinary = pair(channels, 16, 4, 2, 1, dtype=torch.float32)
    images = random(8, channels, size, size, dtype=torch.float32).requires_grad_()
    results = []
    for each in (fast, ordinary):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            output = each(images)
        assert output.dtype == torch.bfloat16
        results.append(torch.autograd.grad(output.float().square().mean(), [images, *each.parameters()]))
    for one, other in zip(*results, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.01 * float(other.abs().max()))


def test_a_weight_that_changes_before_the_backward_pass_is_noticed():
    fast, _ = pair(1, 2, 4, 2, 1)
    images = random(2, 1, 8, 8).requires_grad_()
    output = fast(images)
    with torch.no_grad():
        fast.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")
class TestTransforms:
    """What torch does to networks works, by way of the ordinary convolution."""

    @pytest.fixture
    def net(self):
        return small_cnn((1, 28, 28), 10).double()

    @pytest.fixture
    def images(self):
        return random(3, 1, 28, 28)

    def test_per_image_gradients(self, net, images):
        found = torch.func.vmap(torch.func.grad(lambda image: net(image[None]).square().sum()))(images)
        wanted = images.clone().requires_grad_()
        (expected,) = torch.autograd.grad(net(wanted).square().sum(), wanted)
        torch.testing.assert_close(found, expected)

    def test_stacked_networks(self, net, images):
        nets = [copy.deepcopy(net), small_cnn((1, 28, 28), 10).double()]
        parameters, buffers = torch.func.stack_module_state(nets)
        wanted = images.clone().requires_grad_()
        found = torch.func.vmap(lambda *state: torch.func.functional_call(net, state, (wanted,)))(parameters, buffers)
        torch.testing.assert_close(found, torch.stack([each(images) for each in nets]))
        (gradient,) = torch.autograd.grad(found.sum(), wanted)
        (expected,) = torch.autograd.grad(sum(each(wanted).sum() for each in nets), wanted)
        torch.testing.assert_close(gradient, expected)

    def test_directional_derivatives(self, net, images):
        _, found = torch.func.jvp(net, (images,), (torch.ones_like(images),))
        assert found.shape == (3, 10)

    def test_torchscript(self, net, images):
        scripted = torch.jit.script(net)
        torch.testing.assert_close(scripted(images.requires_grad_()), net(images))

    def test_export(self, net, images):
        torch.testing.assert_close(torch.export.export(net, (images,)).module()(images), net(images))


def test_a_copy_and_an_image_without_a_batch():
    fast, ordinary = pair(1, 2, 4, 2, 1)
    images = random(1, 8, 8).requires_grad_()
    assert torch.equal(copy.deepcopy(fast)(images), ordinary(images))


def test_a_kernel_that_is_no_multiple_of_the_stride_is_refused():
    with pytest.raises(ValueError, match="the stride must divide the kernel_size 3, got 2"):
        StridedConvolution(1, 2, 3, stride=2, padding=1)
