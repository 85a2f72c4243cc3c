"""Data files: where they are looked for, and what happens to missing, damaged and half-fetched ones."""

import functools
import gzip
import hashlib
import http.server
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from trainables.data import files as data_files
from trainables.data.catalog import CATALOG, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, CatalogDataset
from trainables.data.sources import Mirror
from trainables.errors import DataError

NO_MIRROR = "http://127.0.0.1:9/"


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_files():
    random = np.random.default_rng(0)
    return {
        TRAIN_IMAGES: idx_bytes(random.integers(0, 256, (12, 28, 28), dtype=np.uint8)),
        TRAIN_LABELS: idx_bytes(random.integers(0, 10, 12, dtype=np.uint8)),
        TEST_IMAGES: idx_bytes(random.integers(0, 256, (6, 28, 28), dtype=np.uint8)),
        TEST_LABELS: idx_bytes(random.integers(0, 10, 6, dtype=np.uint8)),
    }


FILES = small_files()
SMALL = CatalogDataset("small", 12, 6, {name: hashlib.sha256(raw).hexdigest() for name, raw in FILES.items()}, ())


def write(folder, files=FILES, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(raw)) if packed else (folder / name).write_bytes(raw)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Server(http.server.ThreadingHTTPServer):
    """A mirror on loopback that remembers what was fetched; ``pause`` holds every download back until it is set."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.fetched = []
        self.pause = threading.Event()
        self.pause.set()


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.fetched.append(self.path.strip("/"))
        assert self.server.pause.wait(20)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    with Server(write(tmp_path / "mirror", packed=True)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.pause.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TUNER_DATA", raising=False)
    return tmp_path / "cache" / "small"


@pytest.fixture
def offer(monkeypatch, cache):
    """Put the small dataset in the table, with mirrors at the given addresses."""

    def offer(*urls):
        monkeypatch.setitem(CATALOG, "small", replace(SMALL, sources=tuple(Mirror(url) for url in urls)))

    offer()
    return offer


def elsewhere(url, *, before="", cache):
    """Start a process that ensures the small dataset from a mirror."""
    code = (
        # A shell that runs the tests in the background lets its children ignore Ctrl-C.
        f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {before}\n"
        "from trainables.data import files as data_files, catalog, sources as data_sources\n"
        f"small = catalog.CatalogDataset('small', 12, 6, {dict(SMALL.sha256)!r}, (data_sources.Mirror({url!r}),))\n"
        "catalog.CATALOG['small'] = small\n"
        "print(data_files.ensure('small', on_progress=lambda *step: None))"
    )
    environment = {**os.environ, "TUNER_CACHE": str(cache.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestGivenFolder:
    def test_raw_files_are_used_where_they_are(self, offer, cache, tmp_path):
        folder = write(tmp_path / "given")
        assert data_files.ensure("small", folder) == folder
        assert contents(folder) == FILES
        assert not cache.exists()

    def test_a_subfolder_with_the_name_of_the_dataset_goes_first(self, offer, tmp_path):
        write(tmp_path / "given" / "small")
        assert data_files.ensure("small", tmp_path / "given") == tmp_path / "given" / "small"

    def test_the_environment_names_a_folder(self, offer, tmp_path, monkeypatch):
        monkeypatch.setenv("TUNER_DATA", str(write(tmp_path / "given")))
        assert data_files.ensure("small") == tmp_path / "given"

    def test_packed_files_are_unpacked_into_the_cache(self, offer, cache, tmp_path):
        folder = write(tmp_path / "given", packed=True)
        before = contents(folder)
        assert data_files.ensure("small", folder) == cache
        assert contents(cache) == FILES
        assert contents(folder) == before

    @pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:20] + b"~" + raw[21:], lambda _: b""])
    def test_a_damaged_file_is_an_error_with_both_checksums(self, offer, tmp_path, damage):
        damaged = damage(FILES[TEST_LABELS] + b"tail")
        folder = write(tmp_path / "given", {**FILES, TEST_LABELS: damaged})
        with pytest.raises(DataError) as error:
            data_files.ensure("small", folder)
        found = hashlib.sha256(damaged).hexdigest()
        expected = SMALL.sha256[TEST_LABELS]
        assert f"{folder / TEST_LABELS}: expected SHA-256 {expected}, found {found}" in str(error.value)
        assert (folder / TEST_LABELS).read_bytes() == damaged

    def test_a_cut_archive_is_an_error_even_when_the_cache_is_complete(self, offer, cache, tmp_path):
        write(cache)
        folder = write(tmp_path / "given", packed=True)
        packed = folder / f"{TRAIN_IMAGES}.gz"
        packed.write_bytes(packed.read_bytes()[:-40])
        with pytest.raises(DataError, match=rf"{TRAIN_IMAGES}\.gz: expected SHA-256 \w+, found a damaged archive"):
            data_files.ensure("small", folder)

    def test_missing_files_are_named_and_fetched_from_nowhere_else(self, offer, server, tmp_path):
        offer(server.url)
        folder = write(tmp_path / "given", {TRAIN_IMAGES: FILES[TRAIN_IMAGES]})
        with pytest.raises(DataError, match=f"{folder} lacks {TRAIN_LABELS}, {TEST_IMAGES}, {TEST_LABELS} "):
            data_files.ensure("small", folder)
        assert not server.fetched


class TestCache:
    def test_what_is_there_and_whole_is_not_fetched(self, offer, cache):
        write(cache)
        assert data_files.ensure("small") == cache

    def test_fetches_from_the_mirror_and_tells_the_progress(self, offer, server, cache):
        offer(server.url)
        steps = []
        data_files.ensure("small", on_progress=lambda *step: steps.append(step))
        assert contents(cache) == FILES
        assert sorted(server.fetched) == sorted(f"{name}.gz" for name in FILES)
        packed_size = len(gzip.compress(FILES[TRAIN_IMAGES]))
        assert (packed_size, packed_size, f"{server.url}{TRAIN_IMAGES}.gz") in steps

    @pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw[:50] + b"~" + raw[51:]])
    def test_a_damaged_file_alone_is_fetched_again_once(self, offer, server, cache, caplog, damage):
        offer(server.url)
        write(cache, {**FILES, TEST_IMAGES: damage(FILES[TEST_IMAGES])})
        with caplog.at_level(logging.WARNING):
            data_files.ensure("small")
        assert contents(cache) == FILES
        assert server.fetched == [f"{TEST_IMAGES}.gz"]
        assert str(cache / TEST_IMAGES) in caplog.text

    def test_the_next_mirror_gives_what_the_first_lacks(self, offer, server, cache, tmp_path):
        (tmp_path / "mirror" / f"{TRAIN_LABELS}.gz").write_bytes(gzip.compress(b"other bytes"))
        (tmp_path / "mirror" / f"{TEST_LABELS}.gz").unlink()
        with Server(write(tmp_path / "second", packed=True)) as second:
            thread = threading.Thread(target=second.serve_forever, args=(0.01,))
            thread.start()
            offer(NO_MIRROR, server.url, second.url)
            data_files.ensure("small")
            second.shutdown()
            thread.join()
        assert contents(cache) == FILES
        assert sorted(second.fetched) == sorted([f"{TRAIN_LABELS}.gz", f"{TEST_LABELS}.gz"])

    def test_no_source_left_says_why_each_failed_and_how_to_place_the_files(self, offer, server, cache, tmp_path):
        packed = tmp_path / "mirror" / f"{TRAIN_IMAGES}.gz"
        packed.write_bytes(packed.read_bytes()[:-100])
        offer(NO_MIRROR, server.url)
        with pytest.raises(DataError) as error:
            data_files.ensure("small")
        lines = str(error.value).splitlines()
        assert lines[1] == f"  {NO_MIRROR}: cannot be reached from this network"
        assert lines[2].startswith(f"  {server.url}: {TRAIN_IMAGES}.gz is cut or damaged")
        for word in (*FILES, str(cache), "--data FOLDER", "TUNER_DATA", f"wget -P FOLDER {NO_MIRROR}"):
            assert word in str(error.value)
        assert contents(cache) == {}

    def test_a_cache_that_cannot_be_written_says_so(self, offer, server, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "file"))
        offer(server.url)
        with pytest.raises(DataError, match=r"cannot store small in .*file/small: .*set TUNER_CACHE to another folder"):
            data_files.ensure("small")

    def test_a_full_disk_says_so_and_leaves_nothing(self, server, cache):
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))"
        process = elsewhere(server.url, before=limit, cache=cache)
        _, errors = process.communicate(timeout=20)
        assert f"DataError: cannot store small in {cache}: File too large; free space" in errors
        assert contents(cache) == {}

    def test_processes_at_the_same_time_fetch_once(self, offer, server, cache):
        server.pause.clear()
        processes = [elsewhere(server.url, cache=cache) for _ in range(3)]
        wait_until(lambda: server.fetched)
        server.pause.set()
        for process in processes:
            output, errors = process.communicate(timeout=20)
            assert (output.strip(), errors) == (str(cache), "")
        assert sorted(server.fetched) == sorted(f"{name}.gz" for name in FILES)

    def test_ctrl_c_leaves_nothing(self, server, cache):
        server.pause.clear()
        process = elsewhere(server.url, cache=cache)
        wait_until(lambda: server.fetched)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=20)[1]
        assert contents(cache) == {}

    def test_what_a_killed_process_left_is_cleared_by_the_next(self, offer, server, cache):
        server.pause.clear()
        process = elsewhere(server.url, cache=cache)
        wait_until(lambda: server.fetched)
        process.kill()
        process.communicate(timeout=20)
        assert [path.name.startswith(".fetch-") for path in cache.iterdir()] == [True]
        server.pause.set()
        offer(server.url)
        data_files.ensure("small")
        assert contents(cache) == FILES


class TestStatus:
    def test_tells_what_is_there(self, offer, cache):
        write(cache)
        expected = data_files.DataStatus("small", True, cache, 18, SMALL.digest)
        assert data_files.status("small") == expected

    def test_tells_what_is_missing_and_fetches_nothing(self, offer, server, cache):
        offer(server.url)
        status = data_files.status("small")
        assert not status.present
        assert status.problem == "not fetched"
        write(cache)
        (cache / TEST_LABELS).unlink()
        assert data_files.status("small").problem == f"{cache / TEST_LABELS} is missing"
        assert not server.fetched

    def test_tells_what_is_damaged_in_a_given_folder(self, offer, tmp_path):
        folder = write(tmp_path / "given", {**FILES, TEST_IMAGES: b""})
        status = data_files.status("small", folder)
        assert (status.present, status.path) == (False, folder)
        assert str(folder / TEST_IMAGES) in status.problem
