"""URLs of a study's database: what they may say, and that no password is in them, nor in what is said about them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from tests.tuner.conftest import SPACE
from tuner.errors import UserError
from tuner.storage.postgres import conninfo
from tuner.sweep.folder import SweepFolder

NOWHERE = "postgresql+psycopg://tuner@127.0.0.1:9/studies"


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_url_becomes_what_libpq_takes(scheme):
    parts = conninfo_to_dict(conninfo(f"{scheme}://me@db.example:6543/studies?sslmode=verify-full&connect_timeout=3"))
    assert (parts["user"], parts["host"], parts["port"], parts["dbname"]) == ("me", "db.example", "6543", "studies")
    assert (parts["sslmode"], parts["connect_timeout"]) == ("verify-full", "3")
    assert int(parts["keepalives_idle"]) <= 30


@pytest.mark.parametrize(
    "url", ["sqlite:///study.db", "mysql://me@db/studies", "studies", "", "postgresql+psycopg://[::1/x"]
)
def test_what_is_no_url_of_postgresql_is_refused(url):
    with pytest.raises(UserError, match=r"must be postgresql\+psycopg://USER@HOST/DATABASE"):
        conninfo(url)


@given(st.text("abcXYZ019%&=!", min_size=12), st.sampled_from(["tuner:{}@", "tuner:{}@db.example:1/x@"]))
def test_a_password_is_refused_and_not_repeated(password, place):
    with pytest.raises(UserError) as refused:
        conninfo(f"postgresql+psycopg://{place.format(password)}127.0.0.1/studies")
    assert password not in str(refused.value)


@pytest.mark.parametrize("option", ["password", "sslpassword"])
def test_a_password_among_the_options_is_refused(option):
    with pytest.raises(UserError, match="PGPASSFILE") as refused:
        conninfo(f"{NOWHERE}?{option}=secret")
    assert "secret" not in str(refused.value)


def test_a_launch_refuses_it_before_anything_is_made(run, tmp_path):
    (tmp_path / "tiny.yaml").write_text(SPACE)
    for url, words in (
        ("postgresql://tuner:secret@127.0.0.1:9/x", "must not hold a password"),
        (NOWHERE, "cannot be used"),
        ("sqlite:///x", "got sqlite"),
    ):
        code, output = run("launch", "tiny.yaml", "--study-storage", url)
        assert code == 2, output
        assert words in output
        assert "Traceback" not in output
        assert "secret" not in output
    assert not (tmp_path / "sweeps").exists()


def test_its_folder_says_so(tmp_path):
    made = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path, study_storage=NOWHERE)
    meta = json.loads((made.folder / "sweep.json").read_text())
    assert (meta["format"], meta["study_storage"]) == (3, NOWHERE)
    assert SweepFolder.open("tiny", home=tmp_path).study_storage == NOWHERE
    assert json.loads((made.extended(9).folder / "sweep.json").read_text())["study_storage"] == NOWHERE
    in_file = SweepFolder.create("file", SPACE, "tiny.yaml", home=tmp_path)
    meta = json.loads((in_file.folder / "sweep.json").read_text())
    assert "study_storage" not in meta


def test_a_sweep_whose_database_is_away_is_listed_with_the_reason(run, tmp_path):
    SweepFolder.create("tiny", SPACE, "tiny.yaml", home=tmp_path / "sweeps", study_storage=NOWHERE)
    code, output = run("status")
    assert code == 0, output
    assert "unreadable" in output
    assert "cannot be used" in output
    code, output = run("compare", "tiny")
    assert code == 2, output
    assert "Traceback" not in output
