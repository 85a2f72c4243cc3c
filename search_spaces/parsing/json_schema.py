"""The JSON schema of a search-space file, with which editors complete and describe its keys.

It knows every key, the values that each takes and what it means. What a schema cannot say (which settings go together,
whether a rung can judge) `search_spaces.configurations.parse_space` says.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from search_spaces import sections
from search_spaces.parsing.schedules import OPTIONS
from search_spaces.schema import Space
from search_spaces.sections import MAX_PACK, Pruner, keys_of, submodel
from trainables.config import CONFIGURATIONS

_SHARED = ("trainable", "dataset", "evaluation", "seed", "code")  # settings of a run that are no parameters
_FRACTION = {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*/\s*\d+(\.\d+)?\s*$"}
_TIME = {"type": "string", "pattern": r"^\d{1,9}(\.\d{1,9})?[smh]$"}
_ONE_OF_PRUNERS = {"type": "string", "enum": ["none", *Pruner.model_fields]}
_VARYING = "varying"
_REFERENCE = {"$ref": f"#/$defs/{_VARYING}"}


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a search-space file."""
    whole = Space.model_json_schema()
    definitions = {name: _adapted(name, each) for name, each in whole["$defs"].items()}
    definitions[_VARYING] = _varying()
    configurations = dict(CONFIGURATIONS.usable())
    for name, config in configurations.items():
        definitions[f"parameters_{name}"] = _parameters(config, definitions)
    properties = {key: _with_fractions(each) for key, each in whole["properties"].items()}
    for key, text in descriptions(Space).items():
        if key in properties:
            properties[key]["description"] = text
    objective = {"$ref": "#/$defs/Objective"}
    properties["objective"] = {"anyOf": [objective, {"type": "array", "items": objective, "minItems": 1}]}
    properties["trainable"] |= {"enum": list(configurations)}
    properties["parameters"] = {"type": "object", "description": "What varies, and what is fixed for every trial."}
    properties["first"] = _named("The configurations to try first, by name, by bundle, or as settings.")
    properties["baselines"] = _named("Recipes to compare with, by name, by bundle, or with settings.")
    properties["bundles"] = {"type": "object", "description": "Settings of the bundles that the file names."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A search space of adversarial-tuner",
        "type": "object",
        "properties": properties,
        "required": [key for key in whole["required"] if key in properties],
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {"trainable": {"const": name}}, "required": ["trainable"]},
                "then": {"properties": {"parameters": {"$ref": f"#/$defs/parameters_{name}"}}},
            }
            for name in configurations
        ],
        "$defs": definitions,
    }


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a model and of those that it is made from say of each attribute, in one line."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        section = (inspect.cleandoc(each.__doc__ or "")).partition("Attributes:\n")[2]
        block = re.match(r"(?:(?: {4}.*|\s*)\n?)*", section)
        for name, text in re.findall(r"^ {4}(\w+): ((?:.*\n?)(?: {8}.*\n?)*)", block[0] if block else "", re.MULTILINE):
            found[name] = " ".join(text.split())
    return {name: text for name, text in found.items() if name in model.model_fields}


def _adapted(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a section as a file writes it, where that is not how it is kept."""
    schema = _with_fractions(schema)
    properties = schema.get("properties", {})
    if model := getattr(sections, name, None):
        for key, text in descriptions(model).items():
            if key in properties:
                properties[key]["description"] = text
    if name == "Budget":
        for key in ("time", "trial_timeout"):
            properties[key] = {"anyOf": [_TIME, {"type": "null"}], "default": None}
    if name == "Resources":
        share = _with_fractions({"type": "number", "minimum": 0, "maximum": 1})
        properties["gpu"] |= {"anyOf": [{"const": "auto"}, share], "default": "auto"}
        pack = {"type": "integer", "minimum": 1, "maximum": MAX_PACK}
        properties["pack"] |= {"anyOf": [{"const": "auto"}, pack], "default": "auto"}
    if name == "Search":
        properties["pruner"] = {"anyOf": [_ONE_OF_PRUNERS, {"$ref": "#/$defs/Pruner"}], "default": "none"}
    return schema


def _with_fractions(schema: Any) -> Any:
    """Return a schema in which every number may also be a fraction, like ``8/255``."""
    if isinstance(schema, list):
        return [_with_fractions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _with_fractions(value) for key, value in schema.items() if key != "title"}
    if result.get("type") == "number":
        about = {key: result.pop(key) for key in ("default", "description") if key in result}
        return {"anyOf": [result, _FRACTION], **about}
    return result


def _varying() -> dict[str, Any]:
    """Return the schema of a value that a trial chooses, or that depends on another one."""
    number = _with_fractions({"type": "number"})
    pair = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    schedule: dict[str, Any] = {key: {} for key in ("schedule", *OPTIONS)}
    options = {"when": {"type": "object"}, "prior": {}, **schedule}
    ranges = {"log": {"type": "boolean"}, "step": number, "or_zero": {"type": "boolean"}, **options}
    kinds: dict[str, dict[str, Any]] = {
        "float": {"float": {**pair, "description": "Real numbers from the first to the second."}, **ranges},
        "int": {"int": {**pair, "description": "Whole numbers from the first to the second."}, **ranges},
        "choice": {
            "choice": {"description": "A list of values, or groups of settings by name, which may vary inside."},
            **options,
        },
        "by": {"by": {"type": "object", "description": "A range for each value of a sibling."}, "when": {}},
    }
    return {
        "anyOf": [
            {"type": "object", "properties": keys, "required": [kind], "additionalProperties": False}
            for kind, keys in kinds.items()
        ]
    }


def _parameters(model: type[BaseModel], definitions: dict[str, Any], *, is_recipe: bool = True) -> dict[str, Any]:
    """Return the schema of a model's settings, each of which may vary; the definitions that it needs are added."""
    schema = model.model_json_schema()
    definitions |= {name: each for name, each in schema.get("$defs", {}).items() if name not in definitions}
    about = descriptions(model)
    properties: dict[str, dict[str, Any]] = {}
    for key in keys_of(model):
        if is_recipe and key in _SHARED:
            continue
        below, as_value = submodel(model, key), schema["properties"][key]
        is_group = below is not None and as_value.keys() <= {"$ref", "default", "title"}
        fixed = _parameters(below, definitions, is_recipe=False) if below and is_group else _with_fractions(as_value)
        properties[key] = {"anyOf": [fixed, _REFERENCE]}
        if key in about:
            properties[key]["description"] = about[key]
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _named(description: str) -> Mapping[str, Any]:
    return {"type": "array", "items": {"type": ["string", "object"]}, "description": description}
