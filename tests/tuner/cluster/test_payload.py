"""What travels between a machine and a job: whole or not at all, and into its folder alone."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.cluster.payload import ERROR_MARK, CommandResult, Request, StderrMarker, pack, unpack
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


def test_files_and_folders_come_back(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "exports" / "a").mkdir(parents=True)
    (there / "exports" / "a" / "weights").write_bytes(b"1")
    (there / "space.yaml").write_text("not this")
    unpack(pack(there, ["space.yaml"]), here)
    assert (here / "exports" / "a" / "weights").read_bytes() == b"1"
    assert sorted(path.name for path in here.iterdir()) == ["exports"]
    (there / "exports" / "a").rename(there / "exports" / "b")
    unpack(pack(there, ["space.yaml"]), here)
    assert sorted(path.name for path in (here / "exports").iterdir()) == ["a", "b"]
    assert pack(tmp_path / "here" / "exports", ["a", "b"]) == b""


def test_what_is_there_stays_unless_it_was_asked_for(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    for folder, content in ((there, "new"), (here, "old")):
        folder.mkdir()
        for name in ("a.csv", "z.csv"):
            (folder / name).write_text(content)
    with pytest.raises(UserError, match=r"z.csv is there already"):
        unpack(pack(there), here, may_replace="a.csv")
    assert [(here / name).read_text() for name in ("a.csv", "z.csv")] == ["old", "old"]
    unpack(pack(there, ["z.csv"]), here, may_replace="a.csv")
    assert [(here / name).read_text() for name in ("a.csv", "z.csv")] == ["new", "old"]
    assert sorted(path.name for path in here.iterdir()) == ["a.csv", "z.csv"]


@pytest.mark.parametrize("name", ["../evil", "folder/../../evil"])
def test_nothing_leads_out_of_the_folder(tmp_path, name):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = 1
        archive.addfile(member, io.BytesIO(b"1"))
    here = tmp_path / "here"
    with pytest.raises(UserError, match="cannot be put into"):
        unpack(packed.getvalue(), here)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_links_that_lead_out_are_refused(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "../outside"
        archive.addfile(member)
    with pytest.raises(UserError, match="cannot be put into"):
        unpack(packed.getvalue(), tmp_path / "here")


def test_no_archive_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be put into"):
        unpack(b"no archive", tmp_path)
