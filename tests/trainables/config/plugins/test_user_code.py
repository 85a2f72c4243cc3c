"""Code of a user's own: found by its SHA-256 alone, run once, and its mistakes told with their lines."""

import pytest

from trainables.config.plugins import trust, user_code
from trainables.config.plugins.references import code_reference, is_image_path
from trainables.errors import UserError

SOURCE = b"""\
import dataclasses

@dataclasses.dataclass
class Numbers:
    one: int = 1
"""


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("net.py:build", ("net.py", "build", True)),
        ("../nets/my net.py:Net", ("../nets/my net.py", "Net", True)),
        ("package.module:build", ("package.module", "build", False)),
        ("small_cnn", None),
        ("net.py", None),
        ("net.py:", None),
        ("a b:c", None),
        ("net.py:a.b", None),
        ("", None),
    ],
)
def test_names_of_functions(name, parts):
    found = code_reference(name)
    assert (found and (found.where, found.name, found.is_file)) == parts


@pytest.mark.parametrize(
    ("name", "is_path"),
    [("./images", True), ("a/b", True), ("a.npz", True), ("a.safetensors", True), ("mnist", False), ("a.py:b", False)],
)
def test_names_of_images(name, is_path):
    assert is_image_path(name) is is_path


class TestFiles:
    def load(self, source, name="build"):
        digest = user_code.provide(source)
        return user_code.load(code_reference(f"net.py:{name}"), {"net.py": digest})

    def test_a_file_is_run_once_and_keeps_its_classes(self):
        assert self.load(SOURCE, "Numbers")().one == 1
        assert self.load(SOURCE, "Numbers") is self.load(SOURCE, "Numbers")

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (b"x = 1\ndef build(:\n", r"net\.py cannot be run \(line 2\): SyntaxError"),
            (b"\n\nimport nothing_of_that_name\n", r"net\.py cannot be run \(line 3\): ModuleNotFoundError"),
            (b"def other():\n    pass\n", r"net\.py has no build \(it has: other\)"),
            (b"import sys\nsys.exit(7)\n", r"net\.py cannot be run \(line 2\): SystemExit: 7"),
            (b"\xff\xfe", r"net\.py cannot be run"),
        ],
    )
    def test_mistakes_have_their_line(self, source, message):
        with pytest.raises(UserError, match=message):
            self.load(source)

    def test_code_that_was_not_given_to_this_process_is_not_looked_for(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "net.py").write_bytes(b"build = 1\n")
        reference, digest = code_reference("net.py:build"), user_code.digest_of(b"build = 1\n")
        with pytest.raises(UserError, match="is not here"):
            user_code.load(reference, {"net.py": digest})
        with pytest.raises(UserError, match="its SHA-256 is missing"):
            user_code.load(reference, {})

    def test_a_file_that_is_none(self, tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            user_code.read_source(tmp_path / "net.py")
        with pytest.raises(UserError, match="not a regular file"):
            user_code.read_source(tmp_path)


class TestModules:
    def test_a_module_of_that_digest_is_imported(self):
        reference = code_reference("json.decoder:JSONDecoder")
        found = user_code.load(reference, {"json.decoder": user_code.module_digest("json.decoder")})
        assert found.__name__ == "JSONDecoder"
        with pytest.raises(UserError, match="another one than that of the sweep"):
            user_code.load(reference, {"json.decoder": "0" * 64})

    def test_a_module_may_import_when_it_is_asked_for_a_name(self, tmp_path, monkeypatch):
        code = "def __getattr__(name):\n    raise ModuleNotFoundError('\\nRun pip install more.')\n"
        (tmp_path / "imports_later.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        digests = {"imports_later": user_code.module_digest("imports_later")}
        with pytest.raises(UserError, match="imports_later:build cannot be imported: ModuleNotFoundError: Run pip in"):
            user_code.load(code_reference("imports_later:build"), digests)

    @pytest.mark.parametrize("name", ["nothing_of_that_name", "json.nothing", "sys"])
    def test_there_is_none(self, name):
        with pytest.raises(UserError, match="there is no module"):
            user_code.module_digest(name)


def test_what_a_launch_has_run_may_run_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path))
    trust.check({}, "a")
    with pytest.raises(UserError, match="tuner trust a"):
        trust.check({"net.py": "1" * 64}, "a")
    trust.remember(["1" * 64])
    trust.check({"net.py": "1" * 64}, "a")
    with pytest.raises(UserError, match=r"not let run here \(other.py\)"):
        trust.check({"net.py": "1" * 64, "other.py": "2" * 64}, "a")
