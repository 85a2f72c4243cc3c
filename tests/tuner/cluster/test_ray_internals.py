"""The undocumented names of Ray that are used exist in the installed release, and are used in one module alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ray._private import services
from ray.experimental import internal_kv
from ray.tune.execution.tune_controller import TuneController

from tuner.cluster import ray_internals

ROOT = Path(__file__).parents[3]


def test_the_installed_release_has_every_name():
    assert ray_internals.missing_names() == []


def test_a_name_that_is_missing_is_found(monkeypatch):
    monkeypatch.delattr(internal_kv, "_internal_kv_get")
    monkeypatch.delattr(TuneController, "_cleanup_cached_actors")
    monkeypatch.setattr(TuneController, "__init__", lambda self: None)
    missing = ray_internals.missing_names()
    assert {"ray.experimental.internal_kv._internal_kv_get", "TuneController._cleanup_cached_actors"} < set(missing)
    assert "TuneController._trials" in missing


def test_a_node_that_starts_slowly_is_waited_for(monkeypatch):
    asked = []

    def get_node(address: str, node: str) -> str:
        asked.append(address)
        if len(asked) < 4:
            raise RuntimeError("no node yet")
        return node

    monkeypatch.setattr(services, "get_node", get_node)
    with ray_internals.patient_start(30):
        assert services.get_node("127.0.0.1:1", "n") == "n"
    assert len(asked) == 4
    assert services.get_node is get_node
    asked.clear()
    with ray_internals.patient_start(0), pytest.raises(RuntimeError, match="no node yet"):
        services.get_node("127.0.0.1:1", "n")


def test_no_other_module_uses_an_undocumented_name_of_ray():
    used = re.findall(r"\._[a-z]\w*", (ROOT / "tuner" / "cluster" / "ray_internals.py").read_text())
    names = {name for name in used if not name.startswith(("._controller", "._namespace", "._timeout_s"))}
    assert len(names) > 10
    private = re.compile(r"\bray(?:\.\w+)*\._[a-z]\w*|(?<!self)(?:" + "|".join(map(re.escape, sorted(names))) + r")\b")
    for package in ("tuner", "trainables", "search_spaces"):
        for path in (ROOT / package).rglob("*.py"):
            if path.name != "ray_internals.py":
                assert not private.findall(path.read_text()), path
