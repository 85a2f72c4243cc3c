"""The command that lets code of others run: that of a sweep or a bundle which came from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tuner.cli.options import Home, is_local_path, open_home
from tuner.errors import UserError


def trust(
    source: Annotated[
        str, typer.Argument(metavar="FOLDER|SWEEP", help="A bundle's folder, or the name of a sweep, that needs code.")
    ],
    home_folder: Home = None,
) -> None:
    """Let the code in a sweep or bundle from elsewhere run here; read it first, it can do whatever you can."""
    from trainables.config.plugins.trust import needs_trust, remember
    from trainables.config.plugins.user_code import CODE
    from trainables.config.plugins.wheels import missing_packages, wheel_name
    from tuner.results.terminal.output import say
    from tuner.sweep.folder import SweepFolder

    if is_local_path(source):
        folder, code = Path(source), _code_of_bundle(Path(source))
    else:
        folder, code = SweepFolder.read_needed_code(source, home=open_home(home_folder))
    wheels = {package: folder / CODE / wheel_name(package) for package in missing_packages(code)}
    files = {name: folder / CODE / name for name in code if name.endswith(".py")}
    files |= {package: path for package, path in wheels.items() if path.is_file()}
    code = {name: digest for name, digest in code.items() if needs_trust(name) or name in files}
    console = Console(markup=False)
    if not code:
        say(console, f"{source} needs no code of its own")
        return
    remember(code.values())
    for name, digest in code.items():
        say(console, f"{files.get(name, name)} may run now (SHA-256 {digest[:12]}...)")


def _code_of_bundle(folder: Path) -> dict[str, str]:
    from trainables.storage.bounded import read_bounded
    from trainables.storage.bundle_files import CONFIGURATION, MAX_JSON_BYTES

    try:
        code = json.loads(read_bounded(folder / CONFIGURATION, MAX_JSON_BYTES)).get("code", {})
        return {str(name): str(digest) for name, digest in code.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{folder} is no bundle that `tuner export` wrote: {error}") from error
