"""State dicts of other authors: wherever they lie in a file, under whatever prefix, normalised or not, or refused."""

import argparse
import contextlib
import json
import os
import pickle
import struct
import warnings
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trainables.common.tasks import MNIST
from trainables.config.plugins.registries import CLASSIFIERS
from trainables.errors import BundleError, UserError
from trainables.networks import state_dicts, torch_files
from trainables.networks.classifiers import small_cnn
from trainables.networks.normalization import Normalization

read_classifier_file = partial(state_dicts.read_classifier_file, task=MNIST)


@pytest.fixture(scope="module")
def elsewhere():
    """A network as others write it: a plain sequence of layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return small_cnn((1, 28, 28), 10).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves something and returns the path."""

    def save(content, **options):
        torch.save(content, tmp_path / "net.pt", **options)
        return tmp_path / "net.pt"

    return save


def prefixed(net, prefix):
    return {prefix + name: tensor for name, tensor in net.state_dict().items()}


class Layer(nn.Module):
    """Takes the mean off and divides, with buffers of any shape and name."""

    def __init__(self, mean=0.1307, std=0.3081, shape=(1, 1, 1)):
        super().__init__()
        self.register_buffer("mean", torch.full(shape, mean))
        self.register_buffer("std", torch.full(shape, std))

    def forward(self, images):
        return (images - self.mean) / self.std


class Named(nn.Module):
    """A network with its normalisation, under the names that people give them."""

    def __init__(self, net, normalize):
        super().__init__()
        self.normalize, self.model = normalize, net

    def forward(self, images):
        return self.model(self.normalize(images))


class TestTaken:
    @pytest.mark.parametrize("architecture", [None, "small_cnn"])
    @pytest.mark.parametrize("way", ["torch.save", "torch.save before 1.6", "safetensors", "safetensors by any name"])
    def test_any_file_of_a_state_dict_is_the_same_net_here(self, elsewhere, tmp_path, way, architecture, images):
        path = tmp_path / ("net.safetensors" if way == "safetensors" else "net.bin")
        if way.startswith("safetensors"):
            save_file(elsewhere.state_dict(), path)
        else:
            torch.save(elsewhere.state_dict(), path, _use_new_zipfile_serialization=way == "torch.save")
        file = read_classifier_file(path, architecture=architecture)
        assert torch.equal(file.classifier(images), elsewhere(images))
        assert file.notes == ("the architecture is small_cnn",)

    @pytest.mark.parametrize("architecture", ["small_cnn", "madry_cnn", "mlp"])
    @pytest.mark.parametrize(
        "prefix", ["module.", "_orig_mod.", "model.", "net.", "module._orig_mod.net.", "body.", "0."]
    )
    def test_a_prefix_that_all_names_share(self, saved, architecture, prefix, images):
        net = CLASSIFIERS[architecture]((1, 28, 28), 10)
        file = read_classifier_file(saved(prefixed(net, prefix)))
        assert torch.equal(file.classifier(images), net(images))
        assert f"the architecture is {architecture}" in file.notes
        assert any(repr(prefix) in note for note in file.notes) is (prefix != "body.")

    @pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", "weights_of_mine"])
    @pytest.mark.parametrize("is_legacy", [False, True])
    def test_a_checkpoint_with_whatever_else(self, saved, elsewhere, key, is_legacy, images):
        optimizer = torch.optim.Adam(elsewhere.parameters())
        elsewhere(images).sum().backward()
        optimizer.step()
        others = {
            "epoch": 3,
            "optimizer": optimizer.state_dict(),
            "args": argparse.Namespace(lr=1),
            "rng": torch.get_rng_state(),
        }
        path = saved(
            {**others, "best_acc": np.float64(98.5), key: prefixed(elsewhere, "module.")},
            _use_new_zipfile_serialization=not is_legacy,
        )
        file = read_classifier_file(path)
        assert torch.equal(file.classifier(images), elsewhere(images))
        assert file.notes[0] == f"the weights are those under the key {key!r}"
        assert file.claimed_accuracy == 0.985

    def test_of_lightning(self, saved, elsewhere, images):
        content = {"epoch": 1, "pytorch-lightning_version": "2.0.0", "callbacks": {}, "hparams_name": "kwargs"}
        file = read_classifier_file(saved({**content, "state_dict": prefixed(elsewhere, "model.")}))
        assert torch.equal(file.classifier(images), elsewhere(images))

    def test_of_two_copies_the_usual_one(self, saved, elsewhere, images):
        averaged = {name: tensor + 1 for name, tensor in elsewhere.state_dict().items()}
        file = read_classifier_file(saved({"ema": averaged, "model": elsewhere.state_dict()}))
        assert torch.equal(file.classifier(images), elsewhere(images))
        with pytest.raises(BundleError, match="holds 2 networks that fit small_cnn"):
            read_classifier_file(saved({**prefixed(elsewhere, "teacher."), **prefixed(elsewhere, "student.")}))

    def test_parameters_views_and_other_precisions(self, saved, elsewhere, images):
        file = read_classifier_file(saved(dict(elsewhere.named_parameters())))
        assert torch.equal(file.classifier(images), elsewhere(images))
        views = {name: torch.stack([tensor, -tensor], -1)[..., 0] for name, tensor in elsewhere.state_dict().items()}
        assert torch.equal(read_classifier_file(saved(views)).classifier(images), elsewhere(images))
        halves = {name: tensor.bfloat16() for name, tensor in elsewhere.state_dict().items()}
        assert torch.allclose(read_classifier_file(saved(halves)).classifier(images), elsewhere(images), atol=0.1)


class TestNormalization:
    def test_as_asked_for(self, saved, elsewhere, images):
        file = read_classifier_file(saved(elsewhere.state_dict()), normalization=Normalization(0.1307, 0.3081))
        assert torch.allclose(file.classifier(images), elsewhere(Layer()(images)), atol=1e-5)
        assert file.notes[-1] == "images are normalised with mean 0.1307 and std 0.3081, as asked for"

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (1, 1, 1, 1)], ids=str)
    @pytest.mark.parametrize("wrap", ["beside", "before", "in the sequence", "below prefixes"])
    def test_that_the_file_holds(self, saved, elsewhere, wrap, shape, images):
        layer = Layer(shape=shape)
        net = {
            "beside": lambda: Named(elsewhere, layer),
            "before": lambda: nn.Sequential(layer, elsewhere),
            "in the sequence": lambda: nn.Sequential(layer, *elsewhere),
            "below prefixes": lambda: nn.Sequential(nn.Sequential(layer, *elsewhere)),
        }[wrap]()
        file = read_classifier_file(saved(net.state_dict()))
        assert torch.allclose(file.classifier(images), net(images), atol=1e-5)
        assert file.notes[-1] == "images are normalised with mean 0.1307 and std 0.3081, which the file holds"
        with pytest.raises(UserError, match=r"holds a normalisation with mean 0\.1307"):
            read_classifier_file(saved(net.state_dict()), normalization=Normalization(0.5, 0.5))

    @pytest.mark.parametrize(
        ("layer", "words"),
        [
            (Layer(shape=(3, 1, 1)), "one number each, for images of one channel"),
            (Layer(33.3, 78.6), "must be from 0 to 1.* divide one for pixels of 0 to 255 by 255"),
            (Layer(0.1, torch.nan), "must be from 0.001 to 10, not nan"),
            (Layer(0.1, 0.0), "must be from 0.001 to 10, not 0"),
        ],
    )
    def test_that_cannot_be_used(self, saved, elsewhere, layer, words):
        with pytest.raises(BundleError, match=words):
            read_classifier_file(saved(nn.Sequential(layer, elsewhere).state_dict()))


class TestRefused:
    def test_what_does_not_fit_names_every_tensor(self, saved, elsewhere):
        weights = prefixed(elsewhere, "net.")
        weights["net.extra.weight"] = weights.pop("net.7.bias")
        weights["net.5.weight"] = weights["net.5.weight"][:50]
        path = saved(weights)
        with pytest.raises(BundleError) as error:
            read_classifier_file(path)
        assert str(error.value) == (
            f"{path} does not fit the architecture small_cnn, the nearest one: missing net.7.bias; unexpected "
            "net.extra.weight; net.5.weight has the shape (50, 1568) in place of (100, 1568)"
        )

    def test_the_nearest_is_the_one_with_most_equal_tensors(self, saved, elsewhere):
        # The names of `mlp` would all be there; their shapes are those of small_cnn.
        weights = {**elsewhere.state_dict(), **{f"{number}.weight": torch.zeros(1) for number in (1, 3)}}
        with pytest.raises(BundleError, match=r"small_cnn, the nearest one: unexpected 1\.weight, 3\.weight$"):
            read_classifier_file(saved(weights))

    def test_another_architecture_than_asked_for(self, saved, elsewhere):
        path = saved(elsewhere.state_dict())
        with pytest.raises(BundleError, match="does not fit the architecture mlp: missing"):
            read_classifier_file(path, architecture="mlp")
        with pytest.raises(BundleError, match="there is no architecture 'vgg': small_cnn, madry_cnn, mlp"):
            read_classifier_file(path, architecture="vgg")

    def test_a_network_of_another_kind(self, saved):
        weights = {f"layer{number}.conv.weight": torch.zeros(2) for number in range(30)}
        with pytest.raises(BundleError, match=r"fits no architecture .*: layer0\.conv\.weight, .* and 22 more$"):
            read_classifier_file(saved(weights))

    @pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(3), {1: torch.zeros(3)}], ids=str)
    def test_what_is_no_state_dict(self, saved, content):
        with pytest.raises(BundleError, match="a mapping of names to tensors"):
            read_classifier_file(saved(content))

    @pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.parametrize("name", ["0.weight", "7.bias"])
    def test_weights_that_are_not_finite_are_named(self, saved, elsewhere, name, value):
        weights = {key: tensor.clone() for key, tensor in elsewhere.state_dict().items()}
        weights[name].view(-1)[3] = value
        with pytest.raises(BundleError, match=f"1 of the [0-9]+ values of module.{name} are NaN or infinite"):
            read_classifier_file(saved({f"module.{key}": tensor for key, tensor in weights.items()}))

    @pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.uint16])
    def test_numbers_that_are_no_weights(self, saved, elsewhere, dtype):
        weights = {name: tensor.to(dtype) for name, tensor in elsewhere.state_dict().items()}
        with pytest.raises(BundleError, match=r"holds no floating-point numbers|fits no architecture|a mapping"):
            read_classifier_file(saved(weights))

    def test_no_escape_code_reaches_a_message(self, saved, elsewhere):
        path = saved({f"\x1b[31m{name}\x07\u202e": tensor for name, tensor in elsewhere.state_dict().items()})
        with pytest.raises(BundleError) as error:
            read_classifier_file(path)
        assert str(error.value).isprintable()
        assert r"\x1b[31m0.weight\x07\u202e" in str(error.value)
        file = read_classifier_file(saved({"\x1b[2J": {f"\x1b.{k}": v for k, v in elsewhere.state_dict().items()}}))
        assert all(note.isprintable() for note in file.notes)


class Whole(nn.Module):
    """A model that is saved whole."""

    def __init__(self):
        super().__init__()
        self.layers = small_cnn((1, 28, 28), 10)


class Bomb:
    """What no file may ever do."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


class Call:
    """A call of something with arguments, in a pickle."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def script(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(small_cnn((1, 28, 28), 10)).save(path)


def rewrite(path, change):
    """Save a state dict, and its archive again with members changed and compressed."""
    torch.save(small_cnn((1, 28, 28), 10).state_dict(), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def pickled(protocol, content):
    """Return a change of an archive: its pickle holds something else."""
    return lambda path: rewrite(path, lambda members: members.update({"net/data.pkl": pickle.dumps(content, protocol)}))


def nested_tuples(depth):
    """Return a tuple whose hash takes 2 ** depth steps."""
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


def beyond_its_end(path):
    header = json.dumps({"0.weight": {"dtype": "F32", "shape": [10**9], "data_offsets": [0, 4 * 10**9]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())


def hash_bomb(path):
    # A mapping of such a key cannot be made here, either: the key is put where the pickle of another one is.
    body = pickle.dumps(nested_tuples(60), 2)[2:-1]
    rewrite(path, lambda members: members.update({"net/data.pkl": b"\x80\x02}" + body + b"K\x01s."}))


def lie_about_sizes(path):
    def change(members):
        members["net/data/0"] = members["net/data/0"][:16]

    rewrite(path, change)


def huge_shape(path):
    storage = ("storage", torch.FloatStorage, "0", "cpu", 10**15)
    tensor = Call(torch._utils._rebuild_tensor_v2, Persistent(storage), 0, (10**15,), (1,), False, {})
    rewrite(path, lambda members: members.update({"net/data.pkl": dump({"0.weight": tensor})}))


class Persistent:
    """Something that a pickle names by an identity."""

    def __init__(self, identity):
        self.identity = identity


def dump(content):
    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            return value.identity if isinstance(value, Persistent) else None

    from io import BytesIO

    stream = BytesIO()
    Pickler(stream, 2).dump(content)
    return stream.getvalue()


KINDS = {
    "a model saved whole": (lambda path: torch.save(Whole(), path), "holds a whole model .*Whole.*model.state_dict()"),
    "a model saved whole before 1.6": (
        lambda path: torch.save(small_cnn((1, 28, 28), 10), path, _use_new_zipfile_serialization=False),
        "holds a whole model .*Sequential",
    ),
    "a whole model in a checkpoint": (lambda path: torch.save({"net": Whole()}, path), "holds a whole model"),
    "sparse tensors": (
        lambda path: torch.save({"0.weight": torch.eye(3).to_sparse()}, path),
        "tensors of a kind that is not read",
    ),
    "TorchScript": (script, "is a TorchScript program"),
    "a NumPy array": (lambda path: np.save(path.open("wb"), np.zeros(3)), "a NumPy array"),
    "a NumPy archive": (lambda path: np.savez(path.open("wb"), weight=np.zeros(3)), "a NumPy archive"),
    "a pickled state dict": (
        lambda path: path.write_bytes(pickle.dumps(small_cnn((1, 28, 28), 10).state_dict())),
        "a pickle that torch.save did not write",
    ),
    "another archive": (lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "a"), "a zip archive of something"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "an HDF5 file"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(9)), "compressed by gzip"),
    "a pointer of Git LFS": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
    "a web page": (lambda path: path.write_text("<!DOCTYPE html>"), "a web page"),
    "nothing": (lambda path: path.write_bytes(b""), "is empty"),
    "noise": (lambda path: path.write_bytes(b"noise"), "of an unknown kind"),
    "a folder": (lambda path: path.mkdir(), "not a regular file|directory"),
    "not there": (lambda path: None, "No such file"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_other_kinds_of_files_are_named(tmp_path, kind):
    make, words = KINDS[kind]
    make(tmp_path / "net.pt")
    with pytest.raises(BundleError, match=words) as error:
        read_classifier_file(tmp_path / "net.pt")
    assert "weights_only" not in str(error.value)
    assert str(error.value).isprintable()


HOSTILE = {
    "a pipe that nobody writes into": os.mkfifo,
    "a device without an end": lambda path: path.symlink_to("/dev/zero"),
    "a pickle that calls": pickled(2, Bomb()),
    "a torch file that calls": lambda path: torch.save({"a": Bomb(), "0.weight": torch.zeros(3)}, path),
    "an allocation of 100 GB": pickled(2, Call(bytearray, 10**11)),
    "a tensor of 100 GB": pickled(2, {"0.weight": Call(torch.Tensor, 10**11)}),
    "a hash that takes years": hash_bomb,
    "a shape of a petabyte": huge_shape,
    "a tensor shorter than its shape": lie_about_sizes,
    "a pickle that unpacks to 100 MB": lambda path: rewrite(
        path, lambda members: members.update({"net/data.pkl": bytes(10**8)})
    ),
    "a million instructions": lambda path: rewrite(
        path, lambda members: members.update({"net/data.pkl": b"\x80\x02" + b"N0" * 450_000 + b"N."})
    ),
    "a memo of two billion entries": lambda path: rewrite(
        path, lambda members: members.update({"net/data.pkl": b"\x80\x02}r\xff\xff\xff\x7f."})
    ),
    "thirty thousand members": lambda path: rewrite(
        path, lambda members: members.update({f"net/data/x{number}": b"" for number in range(30_000)})
    ),
    "tensors that unpack to 100 MB": lambda path: rewrite(
        path, lambda members: members.update({"net/data/0": bytes(10**8)})
    ),
    "a safetensors header of a gigabyte": lambda path: path.write_bytes(struct.pack("<Q", 10**9) + b'{"a":1}'),
    "a safetensors file beyond its end": beyond_its_end,
    "a cut archive": lambda path: (
        torch.save(small_cnn((1, 28, 28), 10).state_dict(), path),
        path.write_bytes(path.read_bytes()[:-900]),
    ),
    "an empty pickle": lambda path: rewrite(path, lambda members: members.update({"net/data.pkl": b""})),
    "another byte order": lambda path: rewrite(path, lambda members: members.update({"net/byteorder": b"big"})),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_cost_no_more_than_a_network(tmp_path, kind):
    path = tmp_path / "net.pt"
    HOSTILE[kind](path)
    with pytest.raises(BundleError, match=r"net\.pt"):
        read_classifier_file(path)


@pytest.mark.parametrize("is_legacy", [False, True])
def test_no_damage_of_a_byte_raises_anything_but_a_bundle_error(tmp_path, is_legacy, elsewhere):
    path = tmp_path / "net.pt"
    torch.save(elsewhere.state_dict(), path, _use_new_zipfile_serialization=not is_legacy)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [*range(0, 1500, 13), *rng.integers(len(whole) - 2000, len(whole), 60)]:
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        with contextlib.suppress(BundleError):
            read_classifier_file(path)


def test_only_the_tensors_of_the_network_are_read(saved, elsewhere, monkeypatch):
    path = saved({"model": elsewhere.state_dict(), "images": torch.zeros(1000, 1000)})
    sizes = []
    read = torch_files._read_member
    monkeypatch.setattr(torch_files, "_read_member", lambda *a: sizes.append(len(content := read(*a))) or content)
    read_classifier_file(path)
    assert max(sizes) == 4 * 100 * 1568
