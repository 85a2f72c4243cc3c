"""Every module and every public name of the product says what it is."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for room in ("search_spaces", "trainables", "tuner") for path in (ROOT / room).rglob("*.py"))
EVERY_MODULE = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def public_definitions(node, prefix=""):
    """Yield the name and the node of every public class, function and method; what is inside a function is its own."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, DEFINITIONS):
            if child.name.startswith("_"):
                continue
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try):
            yield from public_definitions(child, prefix)


def undocumented(source):
    tree = ast.parse(source)
    names = [] if ast.get_docstring(tree) else ["the module"]
    return names + [name for name, node in public_definitions(tree) if not ast.get_docstring(node)]


@EVERY_MODULE
def test_every_public_name_has_a_docstring(path):
    assert undocumented(path.read_text()) == []


@EVERY_MODULE
def test_a_docstring_begins_with_one_sentence(path):
    tree = ast.parse(path.read_text())
    nodes = [("the module", tree), *public_definitions(tree)]
    first_lines = {name: (ast.get_docstring(node) or "").partition("\n\n")[0] for name, node in nodes}
    assert [name for name, text in first_lines.items() if not text.rstrip().endswith((".", ":", "?"))] == []


@pytest.mark.parametrize(
    "room", sorted({path.parent for path in MODULES}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_room_is_small_and_its_modules_are_not_named_after_it(room):
    entries = [path for path in room.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 14
    assert [path.name for path in entries if path.suffix == ".py" and path.name.startswith(room.name)] == []


def test_the_rooms_were_found():
    names = {str(path.relative_to(ROOT)) for path in MODULES}
    assert {"tuner/cli/app.py", "trainables/attacks/gradient.py", "search_spaces/schema.py"} <= names


def test_what_is_undocumented_is_found():
    source = '''
def bare(): ...
def _private(): ...
class Documented:
    """Yes."""
    def method(self): ...
    def __init__(self): ...
if True:
    class Nested: ...
def outer():
    """Yes."""
    def inner(): ...
'''
    assert undocumented(source) == ["the module", "bare", "Documented.method", "Nested"]
