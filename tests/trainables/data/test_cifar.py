"""Tests of `trainables.data.cifar`: official archives, and folders of files in their layout."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.cifar import SAMPLE, needs_sample, write_archive, write_unpacked
from trainables.common.tasks import CATALOG_TASKS
from trainables.config import DatasetConfig
from trainables.data import files as data_files
from trainables.data import pack
from trainables.data.catalog import CATALOG
from trainables.data.cifar import LAYOUTS, read_unpacked
from trainables.data.tensors import load, load_dataset
from trainables.errors import DataError

BOTH = pytest.mark.parametrize("name", LAYOUTS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TUNER_DATA", raising=False)


def official(monkeypatch, name, archive):
    """Let an archive be the official one."""
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    layout, num_classes = LAYOUTS[name], CATALOG_TASKS[name].num_classes
    row = replace(
        CATALOG[name],
        num_train=3 * num_classes * len(layout.train),
        num_test=3 * num_classes,
        sha256={layout.archive: checksum},
        sources=(),
    )
    monkeypatch.setitem(CATALOG, name, row)


class TestOfficial:
    @BOTH
    def test_an_archive_is_verified_and_read(self, name, tmp_path, monkeypatch):
        archive = write_archive(tmp_path / "given", name)
        official(monkeypatch, name, archive)
        dataset = load(name, validation=4, folder=archive.parent)
        expected = read_unpacked(write_unpacked(tmp_path / "unpacked", name)).splits
        assert (len(dataset.train) + 4, len(dataset.test)) == (len(expected["train"]), len(expected["test"]))
        np.testing.assert_array_equal(dataset.test.images.numpy(), expected["test"].images)
        np.testing.assert_array_equal(dataset.test.labels.numpy(), expected["test"].labels)
        images = torch.cat([dataset.validation.images, dataset.train.images]).flatten(1).long().sum(1)
        assert sorted(images.tolist()) == sorted(expected["train"].images.reshape(len(images), -1).sum(1, dtype=int))
        assert dataset.task == CATALOG_TASKS[name]
        assert dataset.digest == data_files.digest(name)

    def test_another_archive_is_refused_with_both_checksums(self, tmp_path):
        archive = write_archive(tmp_path / "given")
        with pytest.raises(DataError, match=r"expected SHA-256 c4a38c50.*, found"):
            load("cifar10", validation=4, folder=archive.parent)

    def test_a_shared_archive_fills_the_cache(self, tmp_path, monkeypatch):
        archive = write_archive(tmp_path / "given")
        official(monkeypatch, "cifar10", archive)
        data_files.share("cifar10", str(tmp_path / "shared"), archive.parent)
        folder = data_files.ensure("cifar10", shared=str(tmp_path / "shared"))
        assert folder == tmp_path / "cache" / "cifar10"
        assert (folder / archive.name).read_bytes() == archive.read_bytes()

    def test_without_a_source_the_message_names_the_archive(self, monkeypatch):
        monkeypatch.setitem(CATALOG, "cifar10", replace(CATALOG["cifar10"], sources=()))
        with pytest.raises(DataError, match=r"wget -P FOLDER .*cifar-10-binary\.tar\.gz\n"):
            data_files.ensure("cifar10")


class TestUnpacked:
    @BOTH
    def test_a_folder_is_found_where_people_put_it(self, name, tmp_path):
        for place in (tmp_path / "a", tmp_path / "b" / name, tmp_path / "c" / LAYOUTS[name].folder):
            write_unpacked(place, name)
            root = place if place.name == "a" else place.parent
            assert data_files.unofficial_folder(name, root) == place

    def test_an_archive_beside_it_counts_first(self, tmp_path):
        write_unpacked(tmp_path)
        (tmp_path / "cifar-10-binary.tar.gz").touch()
        assert data_files.unofficial_folder("cifar10", tmp_path) is None

    def test_no_folder_of_another_dataset(self, tmp_path):
        write_unpacked(tmp_path)
        assert data_files.unofficial_folder("mnist", tmp_path) is None
        assert data_files.unofficial_folder("cifar100", tmp_path) is None

    @BOTH
    def test_pixels_and_the_last_label_byte(self, name, tmp_path):
        found = read_unpacked(write_unpacked(tmp_path, name))
        content = (tmp_path / LAYOUTS[name].test).read_bytes()
        first = content[LAYOUTS[name].record_bytes :][: LAYOUTS[name].record_bytes]
        test = found.splits["test"]
        assert test.labels[1] == first[-3073] == 1
        assert test.images[1].tobytes() == first[-3072:]
        assert found.classes == CATALOG_TASKS[name].classes

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "has 0 bytes"),
            (b"\0" * 3072, "has 3,072 bytes: cifar10 has records of 3,073"),
            (b"\0" * 3073 + b"\x0a" + b"\0" * 3072, r"test_batch\.bin: record 1 has the label 10: .* from 0 to 9"),
            (b"\0" * 3073, "test has no image of the class automobile"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, content, message, tmp_path):
        (write_unpacked(tmp_path) / "test_batch.bin").write_bytes(content)
        with pytest.raises(DataError, match=message):
            pack.read_images(tmp_path, lambda *step: None)

    def test_names_of_classes_in_the_folder_count(self, tmp_path):
        (write_unpacked(tmp_path) / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
        assert read_unpacked(tmp_path).classes == tuple("abcdefghij")
        (tmp_path / "batches.meta.txt").write_text("cat\ndog\n")
        with pytest.raises(DataError, match="names 2 classes: cifar10 has 10"):
            read_unpacked(tmp_path)

    def test_it_is_kept_as_images_of_ones_own_are(self, tmp_path):
        about = pack.import_images("cifar10", write_unpacked(tmp_path / "given"))
        config = DatasetConfig.model_validate({"name": "cifar10", "content": about.model_dump()})
        assert config.validation == about.validation
        dataset = load_dataset(config)
        assert dataset.digest == about.sha256 != data_files.digest("cifar10")
        shutil.rmtree(tmp_path / "cache")
        assert load_dataset(config, folder=tmp_path / "given").digest == about.sha256

    def test_images_of_another_task_are_not_cifar(self, tmp_path):
        about = pack.import_images("cifar10", write_unpacked(tmp_path / "given"))
        with pytest.raises(ValueError, match="content is not that of cifar100"):
            DatasetConfig.model_validate({"name": "cifar100", "content": about.model_dump()})
        with pytest.raises(ValueError, match="test and content are for images of your own"):
            DatasetConfig.model_validate({"name": "mnist", "validation": 5, "content": about.model_dump()})


@needs_sample
def test_the_sample_is_read():
    found = read_unpacked(SAMPLE)
    assert {name: split.images.shape for name, split in found.splits.items()} == {
        "train": (4000, 3, 32, 32),
        "test": (1000, 3, 32, 32),
    }
    assert found.classes == CATALOG_TASKS["cifar10"].classes
