"""Data files: the idx format, the table of datasets, and what an import costs."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from trainables.data import files as data_files
from trainables.data.catalog import CATALOG, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from trainables.data.cifar import LAYOUTS
from trainables.errors import DataError


class TestReadIdx:
    def test_reads_shape_and_values(self, tmp_path):
        array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
        header = bytes([0, 0, 8, 3, *(0, 0, 0, 2), *(0, 0, 0, 3), *(0, 0, 0, 4)])
        (tmp_path / "file").write_bytes(header + array.tobytes())
        np.testing.assert_array_equal(data_files.read_idx(tmp_path / "file"), array)

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"\x00\x00\x08",
            b"\x00\x00\x08\x00",
            b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00",
            b"\x00\x00\x08\x02\x00\x00\x00\x01",
            b"\x00\x00\x08\x01\x00\x00\x00\x02\x00",
            b"\x00\x00\x08\x01\x00\x00\x00\x02\x00\x00\x00",
        ],
        ids=["empty", "cut magic", "no dimension", "floats", "cut header", "cut data", "too much data"],
    )
    def test_what_is_no_idx_file_is_an_error_that_names_it(self, tmp_path, raw):
        (tmp_path / "labels").write_bytes(raw)
        with pytest.raises(DataError, match="labels"):
            data_files.read_idx(tmp_path / "labels")


class TestTable:
    @pytest.mark.parametrize("dataset", CATALOG.values(), ids=CATALOG)
    def test_every_row_has_its_checksums_and_a_source(self, dataset):
        archive = {LAYOUTS[dataset.name].archive} if dataset.name in LAYOUTS else None
        assert set(dataset.sha256) == (archive or {TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS})
        assert all(len(bytes.fromhex(checksum)) == 32 for checksum in dataset.sha256.values())
        assert dataset.sources

    def test_digests_differ(self):
        assert len({data_files.digest(name) for name in data_files.names()}) == len(data_files.names())

    def test_an_unknown_name_lists_the_valid_ones(self):
        with pytest.raises(
            ValueError,
            match="'cifar': choose one of mnist, fashion_mnist, cifar10, cifar100, digits",
        ):
            data_files.ensure("cifar")

    def test_digits_are_those_of_scikit_learn(self):
        digits = load_digits()
        images, labels = data_files.read_digits()
        np.testing.assert_array_equal(images, digits.images)
        np.testing.assert_array_equal(labels, digits.target)
        assert (images.dtype, labels.dtype) == (np.uint8, np.uint8)

    def test_digits_need_no_download(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
        assert (data_files.ensure("digits") / "digits.csv.gz").is_file()
        assert data_files.status("digits").present
        assert not (tmp_path / "cache").exists()


def test_importing_it_is_light():
    code = "import sys, trainables.data.files; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"torch", "sklearn", "numpy", "pooch", "requests"}
    assert "trainables.data.files" in loaded
