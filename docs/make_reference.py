"""Writes what is made from the code: the reference of commands, of a space file and of recipes, and what Tab completes.

Run from anywhere: `python docs/make_reference.py`. A test compares the files with what this writes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "reference"
SETTINGS = FOLDER.parents[1] / "tuner" / "cli" / "shell" / "settings.json"
_WIDTH = 100  # characters of a line of a help page
_FEW = 3  # keys of a mapping that are named where it stands
_NOTE = "<!-- Made from the code by docs/make_reference.py: change it there. -->\n"
_SECTIONS = {
    "dataset": "Dataset",
    "evaluation": "Evaluation",
    "objective": "Objective",
    "constraints": "Bounds",
    "budget": "Budget",
    "search": "Search",
    "resources": "Resources",
    "confirm": "Confirm",
}
_ABOUT_SECTIONS = {
    "objective": "One, or a list of several: the search then finds a Pareto front.",
    "constraints": "By metric: the bounds within which a trial must end to be best.",
}


def pages() -> dict[str, str]:
    """Return the text of every page that is made from the code, by its file's name."""
    return {
        "commands.md": _NOTE + "\n".join(_commands()),
        "space_file.md": _NOTE + "\n".join(_space_file()),
        "settings.md": _NOTE + "\n".join(_settings()),
    }


def completed_settings() -> str:
    """Return the content of `SETTINGS`: the keys of a space file and of each trainable, as ``--set`` completes them."""
    from search_spaces.schema import Space
    from trainables.config import CONFIGURATIONS
    from trainables.config.plugins.registries import RECIPES
    from tuner.cli.shell.completion import SPACE, keys

    models = {SPACE: Space, **{name: CONFIGURATIONS[name] for name in RECIPES.ours}}
    return json.dumps({name: list(keys(model)) for name, model in models.items()}, indent=1) + "\n"


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield (
        "Every command prints its help with `-h`. `--cluster`, where it stands, runs the command on a Ray cluster: "
        "see [Run on a cluster](../howto/cluster.md). What a command ends with: [Exit codes](exit_codes.md).\n"
    )
    for words, text in help_pages():
        yield f"## `tuner {words}`\n\n```text\n{text}\n```\n"


def help_pages() -> Iterator[tuple[str, str]]:
    """Yield the words of every command that is not hidden, after ``tuner``, and its help page."""
    import typer.main

    from tuner.cli.app import app

    root = typer.main.get_command(app)
    yield from _below(root, "", typer.Context(root, info_name="tuner", **root.context_settings))  # type: ignore[arg-type]


def _below(group: Any, words: str, around: Any) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        context = type(around)(command, info_name=name, parent=around, terminal_width=_WIDTH, max_content_width=_WIDTH)
        if hasattr(command, "commands"):
            yield from _below(command, f"{words}{name} ", context)
        else:
            lines = (line.rstrip() for line in command.get_help(context).splitlines())
            yield f"{words}{name}", "\n".join(lines).strip()


def _space_file() -> Iterator[str]:
    from search_spaces import sections
    from search_spaces.parsing.json_schema import descriptions, json_schema
    from search_spaces.schema import Space

    schema = json_schema()
    yield "# The keys of a space file\n"
    yield (
        "A search space is one YAML file: [Write your own space](../howto/own_space.md). `tuner spaces check FILE` "
        "lists every mistake with its line, and `tuner spaces schema` prints this page as a JSON schema for editors. "
        "Numbers may be fractions, like `8/255`.\n"
    )
    yield "| key | default | what |\n|---|---|---|"
    required = schema["required"]
    for key, about in descriptions(Space).items():
        name = "objective" if key == "objectives" else key
        if name in schema["properties"]:
            default = "*required*" if name in required else _default(schema["properties"][name])
            yield f"| `{name}` | {default} | {_cell(about)} |"
    for key, name in _SECTIONS.items():
        model = getattr(sections, name)
        yield f"\n## `{key}`\n"
        yield f"{_first_paragraph(model)} {_ABOUT_SECTIONS.get(key, '')}".rstrip() + "\n"
        yield from _table(model, schema["$defs"][name], schema["$defs"])
        if key == "search":
            for pruner in ("SuccessiveHalving", "Hyperband", "Median"):
                yield f"\n### The pruner `{_snake(pruner)}`\n"
                yield _first_paragraph(getattr(sections, pruner)) + "\n"
                yield from _table(getattr(sections, pruner), schema["$defs"][pruner], schema["$defs"])
    yield from _grammar()


def _grammar() -> Iterator[str]:
    yield "\n## `parameters`\n"
    yield (
        "The settings of the recipe, nested as in [Settings of the recipes](settings.md). A bare value is fixed for "
        "every trial; a mapping with one of these keys varies:\n"
    )
    yield "| value | what a trial gets |\n|---|---|"
    yield "| `{float: [low, high]}` | a real number; `log: true` draws it by its logarithm, `step: s` from steps |"
    yield "| `{int: [low, high]}` | a whole number, likewise |"
    yield "| `{choice: [a, b]}` | one of the values |"
    yield (
        "| `{choice: {name: {...}, other: {...}}}` | one of several groups of settings, by its name; settings inside "
        "of a group may vary, too |"
    )
    yield "| `{by: {sibling: {value: {...}}}}` | the range that belongs to the value of another setting |"
    yield "\nBeside them may stand:\n"
    yield "| key | what it says |\n|---|---|"
    yield "| `when: {sibling: value}` | the setting is used only beside that value, or one of a list |"
    yield "| `or_zero: true` | zero, or a number of the range |"
    yield "| `prior: value` | early trials are drawn around it |"
    yield (
        "| `schedule: [constant, linear, stepped]` | the value changes over the run; `knots: n` is how many values "
        "`stepped` has, `at: [0, 0.5]` when each comes, as shares of the compute |"
    )
    yield "\n## `first` and `baselines`\n"
    yield (
        "`first` is a list of configurations that are tried before any other, `baselines` one of recipes that run "
        "beside the search at the same compute. An entry is a name (a recipe, for `baselines`, or a published "
        "configuration: `tuner spaces list`), a mapping of settings, or one of both: `{published: NAME, ...}`, "
        "`{bundle: FOLDER, ...}` or, for `baselines`, `{trainable: RECIPE, name: NAME, ...}`. A bundle's folder is "
        "seen from the folder of the file.\n"
    )


def _settings() -> Iterator[str]:
    from search_spaces.sections import keys_of, submodel
    from trainables.config import CONFIGURATIONS
    from trainables.config.plugins.registries import RECIPES

    yield "# Settings of the recipes\n"
    yield (
        "What `parameters` of a space takes, and `tuner train RECIPE --set KEY=VALUE`. Settings that all runs of a "
        "sweep share stand elsewhere in a space: [The keys of a space file](space_file.md). Where the table says "
        "`Schedule`, a value may change over the run: `{kind: linear, values: [1.0e-2, 0.0]}`, or `{kind: stepped, "
        "values: [...], at: [0, 0.5]}` with the moments as shares of the compute.\n"
    )
    shown: dict[str, str] = {}
    for name in RECIPES.ours:
        config = CONFIGURATIONS[name]
        yield f"## `{name}`\n\n{_first_paragraph(config)}\n"
        schema = config.model_json_schema()
        shared = {"trainable", "dataset", "evaluation", "seed", "code"}
        yield from _table(config, schema, schema["$defs"], leave_out=shared)
        for key in keys_of(config):
            below = submodel(config, key)
            if below is None or key in shared or not hasattr(below, "model_fields"):
                continue
            yield f"\n### `{name}`: `{key}`\n"
            if below.__name__ in shown:
                yield f"As for `{shown[below.__name__]}`.\n"
                continue
            shown[below.__name__] = name
            yield _first_paragraph(below) + "\n"
            inner = below.model_json_schema()
            yield from _table(below, inner, inner.get("$defs", {}))
        yield ""


def _table(model: Any, schema: Any, definitions: Any, leave_out: Any = ()) -> Iterator[str]:
    from search_spaces.parsing.json_schema import descriptions

    about = descriptions(model)
    names = {str(field.validation_alias or name): name for name, field in model.model_fields.items()}
    yield "| key | values | default | what |\n|---|---|---|---|"
    for key, each in schema["properties"].items():
        if key in leave_out:
            continue
        default = "*required*" if key in schema.get("required", ()) else _default(each)
        yield f"| `{key}` | {_values(each, definitions)} | {default} | {_cell(about.get(names.get(key, key), ''))} |"


def _values(schema: Any, definitions: Any) -> str:
    """Return in words what a JSON schema takes; nothing for null and for what is said once for all numbers."""
    if "$ref" in schema:
        return _referred(schema["$ref"].rpartition("/")[2], definitions)
    if "anyOf" in schema or "oneOf" in schema:
        parts = (_values(each, definitions) for each in schema.get("anyOf", schema.get("oneOf")))
        return " or ".join(dict.fromkeys(filter(None, parts)))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{each}`" for each in schema.get("enum", [schema.get("const")]))
    pattern = schema.get("pattern", "")
    items = _values(schema["items"], definitions) if schema.get("items") else ""
    return {
        "number": f"a number{_bounds(schema)}",
        "integer": f"a whole number{_bounds(schema)}",
        "boolean": "`true`, `false`",
        "array": f"a list of {items or 'values'}",
        "string": "" if "/" in pattern else "a time, like `30m`" if "smh" in pattern else "text",
        "object": "a mapping",
    }.get(schema.get("type", ""), "")


def _referred(name: str, definitions: Any) -> str:
    if name == "Schedule":
        return "a schedule"
    target = definitions.get(name, {})
    if "enum" in target:
        return _values(target, definitions)
    keys = [f"`{key}`" for key in target.get("properties", ())]
    return f"a mapping with {', '.join(keys)}" if len(keys) <= _FEW else "a mapping, see below"


def _bounds(schema: Any) -> str:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    words = []
    if low is not None:
        words.append(f"above {_number(low)}" if "exclusiveMinimum" in schema else f"from {_number(low)}")
    if high is not None:
        words.append(f"below {_number(high)}" if "exclusiveMaximum" in schema else f"to {_number(high)}")
    return f" {' '.join(words)}" if words else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) and abs(value) < 1e10 else f"{value:g}"


def _default(schema: Any) -> str:
    if "default" not in schema or schema["default"] is None:
        return ""
    if isinstance(schema["default"], dict | list):
        return "" if schema["default"] in ({}, []) or "$ref" in schema else f"`{json.dumps(schema['default'])}`"
    return f"`{json.dumps(schema['default']).strip(chr(34))}`" if schema["default"] != "" else ""


def _first_paragraph(model: Any) -> str:
    import inspect

    text = inspect.cleandoc(model.__doc__ or "").partition("\nAttributes:")[0]
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER.parents[1]))
    for file, text in pages().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
    SETTINGS.write_text(completed_settings(), encoding="utf-8")
