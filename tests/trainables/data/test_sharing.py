"""A dataset's files beside the sweeps: each machine fills its cache from there, and no other source is asked."""

import pytest

from tests.trainables.data.test_ensure import FILES, SMALL, contents, write
from trainables.data import files as data_files
from trainables.data.catalog import CATALOG
from trainables.errors import DataError, StorageError


@pytest.fixture(autouse=True)
def _small_dataset(tmp_path, monkeypatch):
    """A dataset with no source at all, and a cache that is empty: that of another machine."""
    monkeypatch.setitem(CATALOG, "small", SMALL)
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TUNER_DATA", raising=False)


@pytest.mark.parametrize("packed", [False, True])
def test_what_the_driver_shares_fills_the_caches_of_others(tmp_path, packed):
    given, shared = write(tmp_path / "given", packed=packed), tmp_path / "sweeps" / ".data"
    data_files.share("small", str(shared), given)
    assert contents(shared / "small") == FILES
    if packed:  # the driver had to unpack them; what follows is another machine
        (tmp_path / "cache").rename(tmp_path / "cache of the driver")
    assert data_files.ensure("small", shared=str(shared)) == tmp_path / "cache" / "small"
    assert contents(tmp_path / "cache" / "small") == FILES


def test_a_url_will_do_as_well(tmp_path):
    data_files.share("small", "memory://sweeps/.data", write(tmp_path / "given"))
    assert contents(data_files.ensure("small", shared="memory://sweeps/.data")) == FILES


def test_a_shared_file_that_is_damaged_is_put_there_again_and_taken_by_nobody(tmp_path):
    shared = tmp_path / ".data"
    data_files.share("small", str(shared), write(tmp_path / "given"))
    damaged = shared / "small" / next(iter(FILES))
    damaged.write_bytes(b"damaged")
    with pytest.raises(DataError, match="expected SHA-256"):
        data_files.ensure("small", shared=str(shared))
    data_files.share("small", str(shared), tmp_path / "given")
    assert damaged.read_bytes() == FILES[damaged.name]
    data_files.ensure("small", shared=str(shared))


def test_a_cache_that_is_full_is_not_filled_again(tmp_path):
    write(tmp_path / "cache" / "small")
    assert data_files.ensure("small", shared=str(tmp_path / "nowhere")) == tmp_path / "cache" / "small"


def test_a_folder_that_the_user_names_counts_for_more(tmp_path, monkeypatch):
    write(tmp_path / "given")
    monkeypatch.setenv("TUNER_DATA", str(tmp_path / "given"))
    assert data_files.ensure("small", shared=str(tmp_path / "nowhere")) == tmp_path / "given"


def test_digits_are_everywhere_already(tmp_path):
    data_files.share("digits", str(tmp_path / ".data"))
    assert list(tmp_path.iterdir()) == []


def test_a_shared_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="/file: "):
        data_files.share("small", str(tmp_path / "file"), write(tmp_path / "given"))
