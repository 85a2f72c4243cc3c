"""Every kind of store does the same: folders, URLs of folders, object stores, what fsspec knows."""

import itertools
import threading
import time

import pytest

from tests.support.s3 import BUCKET, S3Server
from trainables.errors import StorageError
from trainables.storage.atomic import is_storage_trouble
from trainables.storage.object_store import below, is_url, store_at

_numbers = itertools.count()


@pytest.fixture(scope="module")
def s3():
    with pytest.MonkeyPatch.context() as patch:
        server = S3Server()
        for name, value in server.environment.items():
            patch.setenv(name, value)
        server.make_bucket()
        yield server
        server.close()


@pytest.fixture(params=["folder", "file://", "memory://", "s3://"])
def place(request, tmp_path):
    """A place that is empty."""
    number = next(_numbers)
    if request.param == "s3://":
        request.getfixturevalue("s3")
        return f"s3://{BUCKET}/prefix/{number}"
    if request.param == "memory://":
        return f"memory://{number}/prefix"
    return str(tmp_path) if request.param == "folder" else f"file://{tmp_path}"


@pytest.fixture
def store(place):
    return store_at(place)


class TestEveryStore:
    def test_what_is_written_is_read(self, store):
        store.check()
        assert store.read("a/b/c.json") is None
        for content in (b"one", b"", b"two" * 10_000):
            store.write("a/b/c.json", content)
            assert store.read("a/b/c.json") == content

    def test_what_is_there_is_listed_by_its_name(self, store):
        assert (store.files(), store.folders()) == ({}, [])
        for name in ("one/sweep.json", "one/trials/0000/metrics.jsonl", "two/sweep.json", ".mark"):
            store.write(name, name.encode())
        assert {name: stamp.size for name, stamp in store.files("one").items()} == {
            "sweep.json": len("one/sweep.json"),
            "trials/0000/metrics.jsonl": len("one/trials/0000/metrics.jsonl"),
        }
        assert set(store.files(recursive=False)) == {".mark"}
        assert store.folders() == ["one", "two"]

    def test_what_is_removed_is_gone_and_nothing_else(self, store):
        for name in ("a/0001/state.json", "a/0001/tensors", "a/0002/state.json", "file"):
            store.write(name, b"content")
        for name in ("a/0001", "file", "never there", "a/never/there"):
            store.remove(name)
        assert set(store.files()) == {"a/0002/state.json"}

    def test_a_place_below_is_that_folder(self, place, store):
        store_at(below(place, "a")).write("b", b"content")
        assert store.read("a/b") == b"content"


def test_a_url_keeps_its_options_at_its_end():
    assert below("s3://bucket/prefix/?region=eu", "a/b") == "s3://bucket/prefix/a/b?region=eu"
    assert below("/folder?", "a") == "/folder?/a"
    assert below("s3://bucket", "") == "s3://bucket"
    assert [is_url(place) for place in ("s3://bucket", "sweeps", "/a://b", "://")] == [True, False, False, False]


@pytest.mark.parametrize(
    "url",
    ["s3://KEY:hush@bucket/prefix", "s3://bucket/prefix?access_key=a&secret_key=hush", "gs://bucket?token=hush"],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match="must not hold a secret") as error:
        store_at(url)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("url", ["nothing://bucket/prefix", "s3://", "http://[::1"])
def test_what_is_no_url_of_a_store_is_refused(url):
    with pytest.raises(ValueError, match=r"URL|cannot be opened"):
        store_at(url)


def test_a_store_that_is_away_is_waited_for(s3):
    store = store_at(f"s3://{BUCKET}/away")
    with s3.away():
        writer = threading.Thread(target=store.write, args=("name", b"content"))
        writer.start()
        time.sleep(4)
        assert writer.is_alive()
    writer.join(60)
    assert store.read("name") == b"content"


def test_what_is_not_allowed_is_said_at_once(s3):
    with pytest.raises(StorageError, match=r"^s3://no-such-bucket/prefix: .*NO_SUCH_BUCKET") as error:
        store_at("s3://no-such-bucket/prefix").write("name", b"content")
    assert is_storage_trouble(error.value)
