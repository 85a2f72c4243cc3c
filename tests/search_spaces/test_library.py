"""Packaged spaces by name, the user's own by path, and what is said when neither is there."""

from __future__ import annotations

import os
import re

import pytest

from search_spaces import SpaceError, names, text_of
from search_spaces.configurations import baseline_configurations, load_space
from trainables.config import parse


def test_packaged_spaces_are_found_by_name():
    assert {"digits", "fgsm_retraining", "gan", "paper", "quick"} <= set(names())
    text, source = text_of("quick")
    assert text.startswith("#")
    assert source == "quick.yaml"


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes("name: x  # größer\n".encode("utf-8-sig"))
    assert text_of(str(path)) == ("name: x  # größer\n", str(path))


def test_a_packaged_name_wins_over_a_file_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick").mkdir()
    assert text_of("quick")[1] == "quick.yaml"


def test_every_range_and_choice_says_where_it_comes_from():
    for name in names():
        for line in text_of(name)[0].splitlines():
            varies = re.search(r"\{(float|int|choice): ", line)
            assert not varies or "# " in line, f"{name}.yaml: {line}"


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda path: None, "neither a file nor a packaged search space (packaged: attack_training, cifar10, "),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_bytes(b"\x89PNG\xff"), "is no text in UTF-8 (byte 0)"),
        (lambda path: path.write_bytes(b"a\0b"), "is no text: it holds zero bytes"),
        (lambda path: path.write_bytes(b"#" * 10_000_000), "must be below 100,000 bytes, not 10,000,000"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (lambda path: path.write_text("name: x\n", encoding="utf-16"), "is text in UTF-16: save it as UTF-8"),
        (lambda path: path.write_bytes("name: größer\n".encode("latin-1")), "is no text in UTF-8 (byte 8)"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, make, fragment):
    path = tmp_path / "given"
    make(path)
    with pytest.raises(SpaceError) as caught:
        text_of(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert fragment in str(caught.value)


def test_a_file_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    path = tmp_path / "closed.yaml"
    path.touch()

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("search_spaces.library.os.open", refuse)
    with pytest.raises(SpaceError, match=r"cannot be read: Permission denied"):
        text_of(str(path))


@pytest.mark.parametrize("name", ["qiuck", "quick.yml", "x" * 5000, "a\0b", "", "../../quick"])
def test_an_unknown_name_is_one_error_whatever_it_is(name):
    with pytest.raises(SpaceError):
        text_of(name)


def test_the_nearest_name_is_told():
    with pytest.raises(SpaceError, match="did you mean 'quick'"):
        text_of("qiuck")


def test_the_demo_has_the_defaults_of_its_recipe_as_a_baseline_and_starts_from_nothing_better():
    space = load_space("quick")
    assert space.first_parameters() == []
    assert space.budget.trials * space.budget.compute <= 20
    baseline = baseline_configurations(space)["default"]
    plain = parse({"trainable": "gan"}).model_dump(mode="json")
    for section in ("classifier", "generator", "batch_size", "clean_weight", "pretrain"):
        assert baseline[section] == plain[section]
