"""Images of a user's own: folders, files of arrays, splits, and everything in them that cannot be used."""

import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from trainables.config import DatasetConfig
from trainables.data import files as data_files
from trainables.data import pack
from trainables.data.array_files import read_array_file
from trainables.data.collections import LabelledImages, checked
from trainables.data.image_folder import read_image_folder
from trainables.data.splitting import split_collection
from trainables.data.tensors import load_dataset
from trainables.errors import DataError

CLASSES = ("cats", "dogs", "fish")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TUNER_DATA", raising=False)


def write_image(path, *, size=(6, 8), mode="RGB", **options):
    shape = (*size, 3) if mode == "RGB" else (*size, 4) if mode == "RGBA" else size
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, shape).astype(np.uint8), mode).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Ten images of each class, 8 pixels wide and 6 high, in colour."""
    for name in CLASSES:
        for number in range(10):
            write_image(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def arrays(num_images=30, shape=(6, 8), num_classes=3):
    pixels = RNG.integers(0, 256, (num_images, *shape)).astype(np.uint8)
    return {"images": pixels, "labels": np.arange(num_images) % num_classes}


class TestFolders:
    def test_sub_folders_are_classes(self, folder):
        (folder / "cats" / ".DS_Store").write_bytes(b"x")
        (folder / "Thumbs.db").write_bytes(b"x")
        found = read_image_folder(folder)
        train = found.splits["train"]
        assert found.classes == CLASSES
        assert train.images.shape == (30, 3, 6, 8)
        assert train.labels.tolist() == [label for label in range(3) for _ in range(10)]
        with Image.open(folder / "dogs" / "3.png") as image:
            assert np.array_equal(train.images[13].transpose(1, 2, 0), np.asarray(image))

    def test_splits_may_be_sub_folders(self, tmp_path):
        for split, count in (("train", 3), ("val", 2), ("Test", 1)):
            for name in CLASSES:
                for number in range(count):
                    write_image(tmp_path / "set" / split / name / f"{number}.png", mode="L")
        found = read_image_folder(tmp_path / "set")
        assert {name: split.images.shape for name, split in found.splits.items()} == {
            "train": (9, 1, 6, 8),
            "validation": (6, 1, 6, 8),
            "test": (3, 1, 6, 8),
        }

    @pytest.mark.parametrize("suffix", ["jpg", "bmp", "webp", "tiff", "ppm", "gif"])
    def test_the_usual_formats_are_read(self, folder, suffix):
        target = folder / "cats" / f"more.{suffix}"
        write_image(target)
        if suffix == "gif":  # a palette
            with Image.open(target) as image:
                assert image.mode == "P"
        assert read_image_folder(folder).splits["train"].images.shape[0] == 31

    def test_an_opaque_alpha_channel_is_left_out(self, folder):
        opaque = Image.new("RGBA", (8, 6), (10, 20, 30, 255))
        opaque.save(folder / "cats" / "a.png")
        assert read_image_folder(folder).splits["train"].images[10, :, 0, 0].tolist() == [10, 20, 30]

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: (f / "cats" / "a.txt").write_text("no image"), "a.txt is no image"),
            (lambda f: (f / "cats" / "a.png").write_bytes(b""), "a.png is no image"),
            (lambda f: cut(f / "cats" / "3.png"), "3.png is damaged"),
            (lambda f: write_image(f / "dogs" / "a.png", size=(6, 9)), "a.png is 9 x 6 in colour"),
            (lambda f: write_image(f / "dogs" / "a.png", mode="L"), "a.png is 8 x 6 grey"),
            (lambda f: write_image(f / "dogs" / "a.png", mode="RGBA"), "a.png has transparent parts"),
            (lambda f: write_image(f / "dogs" / "a.png", size=(300, 300)), "a.png is 300 x 300 pixels: both sides"),
            (lambda f: sixteen_bits(f / "dogs" / "a.png"), "a.png has pixels of the kind I;16"),
            (lambda f: (f / "birds").mkdir(), "birds has no image"),
            (lambda f: (f / "list.csv").write_text(""), "list.csv lies beside the classes"),
            (lambda f: write_image(f / "dogs" / "more" / "a.png"), "more: not a regular file|more: .*directory"),
            (lambda f: os.mkfifo(f / "dogs" / "a.png"), "a.png: not a regular file"),
            (lambda f: moving(f / "dogs" / "a.gif"), "a.gif has several frames"),
            (lambda f: (f / "cats" / "a\x1b[2J.png").write_bytes(b"x"), r"a\\x1b\[2J.png is no image"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, folder, spoil, message):
        spoil(folder)
        with pytest.raises(DataError, match=message):
            read_image_folder(folder)

    def test_a_folder_without_classes(self, tmp_path):
        with pytest.raises(DataError, match="has no sub-folder"):
            read_image_folder(tmp_path)
        write_image(tmp_path / "only" / "a.png")
        with pytest.raises(DataError, match="one class, 'only'"):
            read_image_folder(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:60])


def sixteen_bits(path):
    Image.fromarray(np.full((6, 8), 1000, np.uint16)).save(path)


def moving(path):
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    first.save(path, save_all=True, append_images=[second])


class TestArrayFiles:
    @pytest.mark.parametrize("shape", [(6, 8), (1, 6, 8), (3, 6, 8), (6, 8, 3), (6, 8, 1)])
    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_grey_and_colour_in_any_order(self, tmp_path, shape, suffix):
        path, content = tmp_path / f"a{suffix}", arrays(shape=shape)
        np.savez_compressed(path, **content) if suffix == ".npz" else save_file(content, path)
        train = read_array_file(path).splits["train"]
        assert train.images.shape == (30, 3 if 3 in shape else 1, 6, 8)
        assert train.images.dtype == np.uint8

    @pytest.mark.parametrize("names", [("train_images", "train_labels"), ("x_train", "y_train"), ("x", "y")])
    def test_names_of_others(self, tmp_path, names):
        content = arrays()
        images, labels = names
        extra = {"val_images": content["images"], "val_labels": content["labels"][:, None]}
        np.savez(tmp_path / "a.npz", **{images: content["images"], labels: content["labels"]}, **extra)
        assert set(read_array_file(tmp_path / "a.npz").splits) == {"train", "validation"}

    def test_names_of_classes(self, tmp_path):
        np.savez(tmp_path / "a.npz", **arrays(), classes=np.array(CLASSES))
        assert read_array_file(tmp_path / "a.npz").classes == CLASSES

    def test_bytes_divided_by_255_are_bytes_again(self, tmp_path):
        content = arrays()
        np.savez(tmp_path / "a.npz", images=content["images"] / np.float32(255), labels=content["labels"])
        assert np.array_equal(read_array_file(tmp_path / "a.npz").splits["train"].images[:, 0], content["images"])

    def test_other_numbers_stay_as_they_are(self, tmp_path):
        content = arrays()
        numbers = RNG.random(content["images"].shape)
        np.savez(tmp_path / "a.npz", images=numbers, labels=content["labels"])
        assert np.array_equal(
            read_array_file(tmp_path / "a.npz").splits["train"].images[:, 0], numbers.astype(np.float32)
        )

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"images": np.full((30, 6, 8), 255.0)}, "from 255 to 255: .* divide by 255"),
            ({"images": np.full((30, 6, 8), -1.0)}, "from -1 to -1: .* undo their normalisation"),
            ({"images": np.full((30, 6, 8), np.nan)}, "NaN or infinite"),
            ({"images": np.full((30, 6, 8), 300)}, "bytes are from 0 to 255"),
            ({"images": np.ones((30, 6, 8), np.uint8)}, "no larger than 1"),
            ({"images": np.zeros((30, 48))}, "has the shape"),
            ({"images": np.zeros((30, 6, 8, 4))}, "has the shape"),
            ({"images": np.zeros((30, 2, 8))}, "8 x 2 pixels: both sides must be from 4 to 224"),
            ({"images": np.zeros((0, 6, 8))}, "images are numbers"),
            ({"images": np.zeros((29, 6, 8))}, "29 images and 30 labels"),
            ({"labels": np.full(30, -1)}, "from -1 to -1: they count from 0"),
            ({"labels": np.full(30, 10**6)}, "they count from 0, up to 999"),
            ({"labels": np.full(30, 0.5)}, "are not whole numbers"),
            ({"labels": np.eye(3)[np.arange(30) % 3]}, "one whole number for each image"),
            ({"labels": np.arange(30) % 2 * 2}, "no image of the class 1"),
            ({"labels": np.zeros(30, int)}, "has one class"),
            ({"classes": np.array(["a", "b"])}, "a label 2 in train, and 2 classes"),
            ({"classes": np.array(["a", "b", "c", "d"])}, "no image of the class d"),
            ({"labels": np.array([object()] * 30)}, "Python objects, which would have to be unpickled"),
            ({"images": np.array(["x"] * 30)}, "has the shape"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, tmp_path, change, message):
        np.savez(tmp_path / "a.npz", allow_pickle=True, **{**arrays(), **change})
        with pytest.raises(DataError, match=message):
            read_array_file(tmp_path / "a.npz")

    @pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
    def test_a_damaged_file(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        for content in (b"", b"PK\x03\x04", b"\x80\x04.", os.urandom(300)):
            path.write_bytes(content)
            with pytest.raises(DataError, match="damaged"):
                read_array_file(path)

    def test_a_header_that_asks_for_more_than_there_is(self, tmp_path):
        np.savez(tmp_path / "a.npz", **arrays())
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)}
        )
        import zipfile

        with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
            archive.writestr("images.npy", buffer.getvalue())
            archive.writestr("labels.npy", b"")
        with pytest.raises(DataError, match="cut off"):
            read_array_file(tmp_path / "b.npz")

    def test_no_arrays_of_that_kind(self, tmp_path):
        np.savez(tmp_path / "a.npz", features=np.zeros((3, 4)))
        with pytest.raises(DataError, match="no images to train on, it has the arrays: features"):
            read_array_file(tmp_path / "a.npz")


class TestSplits:
    def collection(self, counts):
        labels = np.repeat(np.arange(len(counts)), counts)
        images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
        return checked(None, {"train": LabelledImages(images, labels)}, "made")

    @pytest.mark.parametrize("counts", [(80, 80, 80), (3, 3), (50, 3, 7), (100, 9)])
    def test_every_class_is_in_every_split_once(self, counts):
        splits = split_collection(self.collection(counts), "made", None, None)
        assert {label for split in splits.values() for label in split.labels} == set(range(len(counts)))
        assert all(set(split.labels) == set(range(len(counts))) for split in splits.values())
        seen = np.concatenate([split.images[:, 0, 0, 0] for split in splits.values()])
        assert sorted(seen) == list(range(sum(counts)))

    def test_numbers_are_as_asked_for_and_the_draw_is_always_the_same(self):
        first, second = (split_collection(self.collection((40, 40)), "made", 7, 11) for _ in range(2))
        assert {name: len(split) for name, split in first.items()} == {"train": 62, "validation": 7, "test": 11}
        assert all(np.array_equal(first[name].images, second[name].images) for name in first)

    @pytest.mark.parametrize(
        ("counts", "numbers", "message"),
        [
            ((40, 40), (79, None), "takes 79 of 68 images"),
            ((40, 40), (1, None), "from 2, one of each class"),
            ((40, 1), (None, None), "needs an image of 1, and one to train on"),
        ],
    )
    def test_splits_that_leave_nothing(self, counts, numbers, message):
        with pytest.raises(DataError, match=message):
            split_collection(self.collection(counts), "made", *numbers)


class TestKept:
    def test_a_dataset_of_ones_own_is_loaded_as_it_was_imported(self, folder):
        about = pack.import_images("./images", folder)
        config = DatasetConfig(name="./images", content=about)
        dataset = load_dataset(config)
        assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (22, 4, 4)
        assert dataset.task.classes == CLASSES
        assert dataset.task.image_shape == (3, 6, 8)
        images, _ = dataset.train.batch(torch.arange(22))
        assert 0 <= images.min() < images.max() <= 1
        assert json.loads(config.model_dump_json())["content"]["sha256"] == dataset.digest

    def test_images_changed_later_change_nothing_and_a_lost_cache_is_filled_again(self, folder, tmp_path):
        about = pack.import_images("./images", folder)
        config = DatasetConfig(name="./images", content=about)
        kept = data_files.ensure("./images", own=config)
        (kept / pack.FILE).unlink()
        assert load_dataset(config, folder=folder).digest == about.sha256
        (kept / pack.FILE).unlink()
        write_image(folder / "cats" / "0.png")
        with pytest.raises(DataError, match="not here as they were"):
            load_dataset(config, folder=folder)

    def test_other_machines_get_them_from_where_they_are_shared(self, folder, tmp_path, monkeypatch):
        about = pack.import_images("./images", folder)
        config = DatasetConfig(name="./images", content=about)
        data_files.share("./images", str(tmp_path / "shared"), own=config)
        monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "another"))
        assert load_dataset(config, shared=str(tmp_path / "shared")).digest == about.sha256

    def test_a_function_returns_arrays(self):
        found = pack.call_for_images(arrays, "data.py:load")
        assert found.splits["train"].images.shape == (30, 1, 6, 8)
        with pytest.raises(DataError, match=r"data\.py:load must return a dictionary"):
            pack.call_for_images(lambda: 3, "data.py:load")
        with pytest.raises(DataError, match=r"data\.py:load fails: ZeroDivisionError"):
            pack.call_for_images(lambda: 1 / 0, "data.py:load")
