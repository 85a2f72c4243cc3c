"""How a command line is read: quickly for a completion; what cannot be is told in whole words within the terminal."""

from __future__ import annotations

import shutil
import sys
from textwrap import wrap
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_OF_THE_LIBRARY = "Value error, "
_ERROR = "Error: "


class QuickCompletion:
    """A base of commands and groups: for a completion, values stay as they were typed.

    To convert them, Typer would load pydantic, which takes as long as all the rest of a completion.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, which convert nothing while a completion is made."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of click's Command
        if ctx.resilient_parsing:
            for param in params:
                param.process_value = lambda _, value: value
        return params


class QuickCommand(QuickCompletion, TyperCommand):
    """A command with `QuickCompletion`."""


class QuickGroup(QuickCompletion, TyperGroup):
    """A group of commands with `QuickCompletion`."""


class ReadableGroup(QuickGroup):
    """The commands of a program, whose messages about their arguments can be read in a narrow terminal, too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before the command; an option of a command is refused, and where it goes is said."""
        option = args[0].partition("=")[0] if args else ""
        is_known = any(option in param.opts for param in self.get_params(ctx))
        if option.startswith("-") and not is_known and not ctx.resilient_parsing:
            commands = [self.get_command(ctx, name) for name in self.list_commands(ctx)]
            if any(option in param.opts for command in commands if command for param in command.params):
                ctx.fail(f"{option} goes after the command, as in `{ctx.info_name} COMMAND {option} ...`")
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Call the command that was typed.

        Raises:
            typer.BadParameter: an argument cannot be; its message is wrapped.
        """
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(_OF_THE_LIBRARY)
            if error.message and sys.stderr.isatty():
                error.message = _wrapped(error, shutil.get_terminal_size().columns)
            raise


def _wrapped(error: typer.BadParameter, width: int) -> str:
    """Return the message of an error with line breaks, of which each stands where a space was."""
    whole = _ERROR + " ".join(error.format_message().split())
    begins = whole.rfind(" ".join(error.message.split()))
    return "\n".join(wrap(whole, width, break_long_words=False, break_on_hyphens=False))[begins:]
