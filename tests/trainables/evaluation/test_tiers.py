"""The tiers: names are unique, and a module that repeats one cannot be imported."""

import importlib.util
from pathlib import Path

import pytest

from trainables.evaluation import tiers
from trainables.evaluation.tiers import TIERS, AttackRow, check_tiers

SOURCE = Path(tiers.__file__).read_text()


def import_as(tmp_path, monkeypatch, text):
    """Import a text as if it were the module of the tiers."""
    path = tmp_path / "changed_tiers.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("changed_tiers", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "changed_tiers", module)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_tiers_are_sound():
    check_tiers(TIERS)
    assert list(TIERS) == ["watch", "rank"]


@pytest.mark.parametrize("tier", TIERS)
def test_a_row_that_repeats_a_name_is_an_error_at_import(tier, tmp_path, monkeypatch):
    added = f'"{tier}": (\n        AttackRow("fgsm", "again", "fgsm"),'
    changed = SOURCE.replace(f'"{tier}": (', added)
    assert changed != SOURCE
    with pytest.raises(ValueError, match=f"names must be unique in a tier: '{tier}' has 2 rows named 'fgsm'"):
        import_as(tmp_path, monkeypatch, changed)


def test_a_row_with_a_new_name_is_none(tmp_path, monkeypatch):
    changed = SOURCE.replace('"rank": (', '"rank": (\n        AttackRow("new", "new", "fgsm"),')
    assert import_as(tmp_path, monkeypatch, changed).TIERS["rank"][0].name == "new"


def test_a_name_may_stand_in_both_tiers():
    check_tiers({"watch": [AttackRow("a", "A", "fgsm")], "rank": [AttackRow("a", "A", "pgd")]})
