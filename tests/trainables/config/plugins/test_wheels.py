"""Wheels of packages with plug-ins: made from what is installed, used where it is not."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.support.plugins import example_package, forget, installed, write_package
from trainables.config.plugins import trust, wheels
from trainables.config.plugins.packages import digest_of_package, is_installed, package_digests
from trainables.config.plugins.registries import CLASSIFIERS, DATASETS, RECIPES
from trainables.config.plugins.user_code import CODE
from trainables.errors import UserError

PACKAGE = "example-plugin 0.1.0"
INFO = "example_plugin-0.1.0.dist-info"
NAME = "example_plugin-0.1.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a cache of its own, and take back what this process imports and where it looks for modules."""
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with patch.dict("sys.modules"):
        yield
    forget()


@pytest.fixture
def made(tmp_path: Path) -> tuple[bytes, str]:
    """Return the wheel of the example plug-in, and the SHA-256 of its code."""
    with installed(example_package(tmp_path / "site")):
        (digest,) = package_digests([CLASSIFIERS.entries["tiny_cnn"]]).values()
        (wheel,) = wheels.make_wheels({PACKAGE: digest, "net.py": "0" * 64}).items()
    assert wheel[0] == NAME
    return wheel[1], digest


def changed(content: bytes, change: Callable[[dict[str, bytes]], object]) -> bytes:
    """Return a wheel whose files are changed by a function."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def test_a_package_is_used_from_its_wheel_as_if_it_were_installed(made: tuple[bytes, str]):
    content, digest = made
    assert not is_installed(PACKAGE)
    assert "bars" not in DATASETS
    wheels.provide_packages({PACKAGE: digest}, {NAME: content}.get)
    assert digest_of_package(PACKAGE) == digest
    assert DATASETS["bars"]()["images"].shape == (300, 16, 16)
    assert RECIPES["noise_training"].config.model_fields["deviation"].default == 0.1
    assert wheels.make_wheel(PACKAGE) == content, "a wheel of what came from a wheel is equal to it"


def test_pip_installs_it(made: tuple[bytes, str], tmp_path: Path):
    (tmp_path / NAME).write_bytes(made[0])
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*command, str(tmp_path / "target"), str(tmp_path / NAME)], check=True)
    with installed(tmp_path / "target"):
        assert digest_of_package(PACKAGE) == made[1]
        assert wheels.make_wheel(PACKAGE) is not None
        assert (tmp_path / "target" / "example_plugin" / "bars_noise.yaml").is_file()


def test_it_holds_what_the_entry_points_lead_to_and_nothing_else(tmp_path: Path):
    site = example_package(tmp_path / "site")
    (site / "beside.py").write_text("VALUE = 1\n")
    (site / "example_plugin" / "__pycache__").mkdir()
    (site / "example_plugin" / "__pycache__" / "data.pyc").write_bytes(b"1")
    (info,) = site.glob("*.dist-info")
    with (info / "entry_points.txt").open("a") as file:
        file.write("\n[console_scripts]\ntool = beside:main\n")
    (site / "example_plugin" / ".env").write_text("TOKEN=1")
    (site / "example_plugin" / ".ipynb_checkpoints").mkdir()
    (site / "example_plugin" / ".ipynb_checkpoints" / "data.py").write_text("")
    (info / "RECORD").write_text("../../bin/tool,,\n__editable__.example.pth,,\nexample_plugin/data.py,,\n")
    with installed(site):
        content = wheels.make_wheel(PACKAGE)
        digest = digest_of_package(PACKAGE)
    assert content is not None
    wheels.read_wheel(PACKAGE, content, digest)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"example_plugin", info.name}
        assert not [name for name in archive.namelist() if "pycache" in name or ".env" in name]
        assert b"console_scripts" not in archive.read(f"{info.name}/entry_points.txt")
    (info / "RECORD").write_text("beside.py,,\nexample_plugin/data.py,,\n")
    with installed(site):
        assert wheels.make_wheel(PACKAGE) is None, "it has a module that no entry point leads to"


@pytest.mark.parametrize("name", [b"fast.cpython-312-x86_64-linux-gnu.so", b"a\\b.txt", b"\xff.txt", b"cannot be read"])
def test_what_cannot_travel_is_installed_on_every_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes):
    site = example_package(tmp_path / "site")
    odd = site / "example_plugin" / os.fsdecode(name)
    if name == b"cannot be read":
        odd.symlink_to("/proc/self/mem")
    else:
        odd.write_bytes(b"1")
    with installed(site):
        assert wheels.make_wheels({PACKAGE: "0"}) == {}
    odd.unlink()
    monkeypatch.setattr(wheels, "MAX_BYTES", 1000)
    with installed(site):
        assert wheels.make_wheels({PACKAGE: "0"}) == {}


def test_what_is_not_the_code_of_the_launch_is_refused_and_not_looked_for_again(made: tuple[bytes, str]):
    content, digest = made
    wrong = {
        "damaged": content[:-200],
        r"damaged.*lies outside": changed(content, lambda files: files.update({"../x.py": b"1"})),
        "another code": changed(content, lambda files: files.update({"example_plugin/data.py": b"1"})),
        "no wheel of example-plugin 0.1.0": changed(content, lambda files: files.pop(f"{INFO}/entry_points.txt")),
        "no wheel of example-plugin": changed(content, lambda files: files.update({"psycopg.py": b"1"})),
        "no wheel of example": changed(content, lambda files: files.update({"example_plugin/data.so": b"1"})),
        "no wheel of": changed(content, lambda files: files.update({"example_plugin/__pycache__/a.pyc": b"1"})),
        "no wheel": changed(
            content, lambda files: files.update({f"{INFO}/entry_points.txt": b"[pytest11]\na = example_plugin:a\n"})
        ),
        "is no wheel": changed(
            content,
            lambda files: files.update(
                {f"{INFO}/entry_points.txt": files[f"{INFO}/entry_points.txt"] + b"\nos = subprocess:call\n"}
            ),
        ),
    }
    for words, wheel in wrong.items():
        before = list(sys.path)
        with pytest.raises(UserError, match=words):
            wheels.provide_packages({PACKAGE: digest}, {NAME: wheel}.get)
        assert sys.path == before
        assert not is_installed(PACKAGE)
    with pytest.raises(UserError, match=r"example-plugin 0\.1\.0 is not installed here: install it, in that version"):
        wheels.provide_packages({PACKAGE: digest}, {}.get)
    wheels.provide_packages({PACKAGE: digest}, {NAME: content}.get)


@pytest.mark.parametrize("seed", range(3))
def test_no_flipped_byte_of_a_wheel_runs(made: tuple[bytes, str], seed: int):
    """Whatever is flipped, the code is that of the launch, or nothing is used; zip has checksums of the other files."""
    content, digest = made
    whole = wheels.read_wheel(PACKAGE, content)
    for place in range(seed, len(content), 97):
        broken = bytearray(content)
        broken[place] ^= 1 << (place % 8)
        with contextlib.suppress(UserError):
            files = wheels.read_wheel(PACKAGE, bytes(broken), digest)
            assert files["example_plugin/data.py"] == whole["example_plugin/data.py"]


def test_a_file_that_was_changed_in_the_cache_is_put_right(made: tuple[bytes, str], tmp_path: Path):
    content, digest = made
    wheels.provide_packages({PACKAGE: digest}, {NAME: content}.get)
    (kept,) = (tmp_path / "cache" / "packages").glob("*/example_plugin/data.py")
    kept.write_text("raise SystemExit\n")
    sys.path.remove(str(kept.parents[1]))
    forget()
    wheels.provide_packages({PACKAGE: digest}, {NAME: content}.get)
    assert DATASETS["bars"]()["images"].shape == (300, 16, 16)


def test_an_installed_package_goes_before_its_wheel(made: tuple[bytes, str], tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "site", other)
    (info,) = other.glob("*/*.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-plugin\nVersion: 0.2.0\n")
    with installed(info.parent), pytest.raises(UserError, match=r"in version 0\.2\.0, and 0\.1\.0 is needed"):
        wheels.provide_packages({PACKAGE: made[1]}, {NAME: made[0]}.get)


def test_what_it_needs_must_be_installed(tmp_path: Path):
    site = write_package(tmp_path, "outsider", "[adversarial_tuner.attacks]\nshift = outside:shift\n")
    (site / "outside.py").write_text("")
    (info,) = site.glob("*.dist-info")
    with (info / "METADATA").open("a") as file:
        file.write("Requires-Dist: adversarial-tuner\nRequires-Dist: numpy>=1\nRequires-Dist: no-such-thing>=2\n")
        file.write('Requires-Dist: nor-this-one; extra == "more"\n')
    with installed(site):
        content = wheels.make_wheel("outsider 1.5")
    assert content is not None
    with pytest.raises(UserError, match=r"outsider 1\.5 needs no-such-thing, not installed here"):
        wheels.provide_wheel("outsider 1.5", content)


def test_the_wheel_of_a_sweep_runs_only_if_its_user_lets_it(made: tuple[bytes, str], tmp_path: Path):
    content, digest = made
    code, folder = {PACKAGE: digest}, tmp_path / "sweep"
    with pytest.raises(UserError, match=r"sweep needs the package .* install it, in that version$"):
        wheels.provide_kept(code, folder, lambda path: None)
    (folder / CODE).mkdir(parents=True)
    (folder / CODE / NAME).write_bytes(content)
    with pytest.raises(UserError, match=r"or read its code in .*whl, then `tuner trust sweep` lets it run"):
        wheels.provide_kept(code, folder, lambda path: None)
    assert not is_installed(PACKAGE)
    wheels.check_kept(code, folder, lambda path: None)
    trust.remember([digest])
    wheels.provide_kept(code, folder, lambda path: None)
    assert is_installed(PACKAGE)
    (folder / CODE / NAME).write_bytes(content[:-1000])
    with pytest.raises(UserError, match="damaged"):
        wheels.check_kept(code, folder, lambda path: None)


def test_without_a_cache_the_message_says_which_variable_to_set(
    made: tuple[bytes, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="TUNER_CACHE"):
        wheels.provide_wheel(PACKAGE, made[0])
