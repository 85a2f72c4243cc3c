"""Settings that a network or an attack of an installed package has of its own, checked by the package's class of them.

They are named ``options``, since each belongs to one row of a table and not to a recipe. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, TypeAlias

from pydantic import Field, ValidationError

from trainables.config.plugins.references import code_reference
from trainables.config.plugins.registries import Registry
from trainables.errors import UserError

OptionName = Annotated[str, Field(pattern=r"^[a-z]\w{0,62}$")]
Options: TypeAlias = Annotated[
    dict[OptionName, bool | int | float | Annotated[str, Field(max_length=1000)]], Field(max_length=50)
]
"""Values by name, which a class of settings of the package bounds further."""


def checked_options(table: Registry, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a row of a table, with defaults for those that are left out.

    Args:
        table: of networks or of attacks.
        name: of the row, or a function of a user's own, which has no settings.
        options: those that are set.

    Raises:
        UserError: the row has no such settings, or a value is out of bounds; the message lists all such mistakes.
    """
    config = table.entries[name].config if code_reference(name) is None and name in table else None
    if config is None:
        if options:
            raise UserError(f"{name} has no settings, so {', '.join(options)} must be left out")
        return {}
    try:
        settings = config.model_validate(dict(options))
    except ValidationError as error:
        valid = ", ".join(config.model_fields)
        reasons = [_reason(details, valid) for details in error.errors(include_url=False)]
        raise UserError(f"{name} does not take these settings: {'; '.join(reasons)}") from None
    return {key: getattr(settings, key) for key in config.model_fields}


def _reason(details: Any, valid: str) -> str:
    where = ".".join(map(str, details["loc"]))
    if details["type"] == "extra_forbidden":
        return f"{where} is none of them (valid: {valid})"
    reason = details["msg"].removeprefix("Value error, ")
    return f"{where}: {reason[:1].lower()}{reason[1:]}, not {details['input']!r}" if where else reason


def with_options(function: Any, table: Registry, name: str, options: Mapping[str, Any]) -> Any:
    """Return a function of a row of a table with its settings as keyword arguments; see `checked_options`."""
    values = checked_options(table, name, options)
    return partial(function, **values) if values else function
