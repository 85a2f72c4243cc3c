"""What travels between a machine and a job: whole or not at all, and into its folder alone."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.cluster import payload
from tuner.cluster.payload import ERROR_MARK, CommandResult, Expected, Request, StderrMarker, pack, unpack
from tuner.errors import UserError

TEXTS = st.text(max_size=300)


@given(st.dictionaries(TEXTS, TEXTS, max_size=3), TEXTS, st.booleans())
def test_a_request_comes_as_it_was_sent(files, folder, is_captured):
    request = Request({"ray": "1"}, files, is_captured, folder)
    line = request.encode()
    assert Request.decode(line) == request
    assert line.isascii()
    assert len(line.split()) == 1


@given(st.lists(st.tuples(st.booleans(), st.text("ab \n", max_size=9)), max_size=9))
def test_standard_error_can_be_told_from_output_line_by_line(written):
    log = io.StringIO()
    marked = StderrMarker(log)
    for is_error, text in written:
        (marked if is_error else log).write(f"{text}\n")
    lines = log.getvalue().split("\n")[:-1]
    for kind in (True, False):
        expected = [line for is_error, text in written if is_error is kind for line in text.split("\n")]
        assert [line.removeprefix(ERROR_MARK) for line in lines if line.startswith(ERROR_MARK) is kind] == expected


def test_a_request_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="must be below 100,000 bytes"):
        Request({}, {"space.yaml": os.urandom(80_000).hex()}).encode()


@given(TEXTS, TEXTS, st.binary(max_size=300), TEXTS)
def test_an_answer_is_found_in_a_log(output, errors, files, before):
    answer = CommandResult(output, errors, files)
    assert CommandResult.find(f"Ray says something\n{before}\n{answer.encode()}") == answer
    assert CommandResult.find(before) is None


def test_a_damaged_answer_is_refused_whatever_byte_it_is():
    whole = CommandResult("some words", "", b"\0" * 50).encode()
    begin = whole.index("\n") - 10
    for position in range(begin, len(whole) - 1):
        other = "A" if whole[position] != "A" else "B"
        with pytest.raises(UserError, match="damaged or cut short"):
            CommandResult.find(whole[:position] + other + whole[position + 1 :])
        with pytest.raises(UserError, match="damaged or cut short"):
            CommandResult.find(whole[:position])


BUNDLE = Expected(r"exports/tiny-[a-z0-9][\w.-]*", frozenset({".json", ".safetensors"}))
TABLE = Expected(r"table\.csv")


def archive(*names: str, content: bytes = b"1", **attributes: object) -> bytes:
    """Return an archive of files with these names, whose headers may lie."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as opened:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            opened.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_files_and_folders_come_back(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "exports" / "tiny-trial-0001").mkdir(parents=True)
    (there / "exports" / "tiny-trial-0001" / "metrics.json").write_bytes(b"1")
    (there / "space.yaml").write_text("not this")
    unpack(pack(there, ["space.yaml"]), here, BUNDLE)
    assert (here / "exports" / "tiny-trial-0001" / "metrics.json").read_bytes() == b"1"
    assert files_below(here) == ["exports/tiny-trial-0001/metrics.json"]
    (there / "exports" / "tiny-trial-0001").rename(there / "exports" / "tiny-trial-0002")
    unpack(pack(there, ["space.yaml"]), here, BUNDLE)
    assert sorted(path.name for path in (here / "exports").iterdir()) == ["tiny-trial-0001", "tiny-trial-0002"]
    assert pack(there, ["exports", "space.yaml"]) == b""
    unpack(b"", here, None)


def test_a_file_that_was_asked_for_replaces_one_and_a_folder_none(tmp_path):
    (tmp_path / "table.csv").write_text("old")
    unpack(archive("table.csv", content=b"new"), tmp_path, TABLE)
    assert (tmp_path / "table.csv").read_text() == "new"
    unpack(archive("exports/tiny-1/metrics.json"), tmp_path, BUNDLE)
    with pytest.raises(UserError, match="is there already"):
        unpack(archive("exports/tiny-1/other.json"), tmp_path, BUNDLE)
    assert files_below(tmp_path) == ["exports/tiny-1/metrics.json", "table.csv"]


@pytest.mark.parametrize("expected", [None, TABLE, BUNDLE, Expected("bundle", frozenset({".json"}))])
@pytest.mark.parametrize(
    "names",
    [
        *([".ssh/authorized_keys"], [".bashrc"], ["../evil"], ["exports/../../evil.json"], ["/tmp/evil.json"]),
        *(["exports/tiny-1/a.json", ".ssh/authorized_keys"], ["exports/tiny-1/.hidden.json"], ["exports/tiny-1/a.py"]),
        *(
            ["exports/tiny-1/deep/a.json"],
            ["exports/other-1/a.json"],
            ["exports/tiny-1/a.json", "exports/tiny-2/a.json"],
        ),
        *(["exports/tiny-../a.json"], ["exports/tiny-1/a.json/../../../evil.json"], ["table.csv", "pyvenv.cfg"]),
        *(
            ["bundle/.json"],
            ["bundle"],
            ["table.csv/evil"],
            ["./.profile"],
            [f"exports/tiny-1/{i}.json" for i in range(101)],
        ),
    ],
    ids=str,
)
def test_nothing_is_written_but_what_the_command_makes(tmp_path, expected, names):
    with pytest.raises(UserError, match="cannot be put into"):
        unpack(archive(*names), tmp_path / "here", expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_nothing_but_plain_files_is_written(tmp_path, kind):
    for linkname in ("../outside", "metrics.json", "/etc/passwd"):
        packed = archive("exports/tiny-1/a.json", content=b"", type=kind, linkname=linkname)
        with pytest.raises(UserError, match="cannot be put into"):
            unpack(packed, tmp_path / "here", BUNDLE)
    assert list(tmp_path.iterdir()) == []


def test_a_small_answer_does_not_become_a_large_one(tmp_path):
    """A compressed one, a compressed archive, a file with a hole, and one whose header says more than there is."""
    zeros = zlib.compress(b"0" * (2 * payload.MAX_RESULT + 1))
    assert len(zeros) < 1e6
    line = base64.b64encode(zeros).decode()
    with pytest.raises(UserError, match="larger than"):
        CommandResult.find(f"{payload.RESULT} {hashlib.sha256(zeros).hexdigest()}\n{line}\n")
    lying = tarfile.TarInfo("exports/tiny-1/a.json")
    lying.size = 2**33
    hole = {"GNU.sparse.major": "0", "GNU.sparse.size": str(2**33), "GNU.sparse.map": "0,1"}
    packed = [
        gzip.compress(archive("exports/tiny-1/a.json")),
        archive("exports/tiny-1/a.json", pax_headers=hole),
        lying.tobuf() + b"1" * 512,
    ]
    for content in packed:
        with pytest.raises(UserError, match="cannot be put into"):
            unpack(content, tmp_path / "here", BUNDLE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"no json", b"[]", b"{}", b'{"output": 1, "errors": 2, "files": "%"}', b"[" * 10**5]
)
def test_an_answer_that_is_none_is_refused(content):
    packed = zlib.compress(content)
    with pytest.raises(UserError, match="none of this release"):
        CommandResult.find(
            f"{payload.RESULT} {hashlib.sha256(packed).hexdigest()}\n{base64.b64encode(packed).decode()}\n"
        )


def test_no_archive_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be put into"):
        unpack(b"no archive", tmp_path, BUNDLE)
