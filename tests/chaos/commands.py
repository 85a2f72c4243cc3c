"""What is done to commands that work on a finished sweep: they are killed or stopped midway, and run again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file

from tests.chaos.invariants import check_nothing_lost, rows_of
from tuner.sweep.evaluations import EVALUATION_FILES
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

if TYPE_CHECKING:
    from tests.chaos.rounds import Chaos

COMMANDS = ("launch", "confirm", "evaluate", "export", "sync")
PATIENCE_S = 3600.0
"""How long anything may take: what hangs is to be found, not what is slow on a busy machine."""
LONGEST_S = {"launch": 20.0, "confirm": 30.0, "evaluate": 15.0, "export": 6.0, "sync": 10.0}
"""After how many seconds each is interrupted at the latest, at first."""


def interrupt_command(chaos: Chaos, name: str) -> str:
    """Kill a command with SIGKILL, or stop it for a while, at a random moment; then it has to do its work.

    Returns:
        What was done, in words.
    """
    check = {"launch": _launch, "confirm": _confirm, "evaluate": _evaluate, "export": _export, "sync": _sync}[name]
    return check(chaos, lambda *arguments: _interrupt(chaos, name, chaos.start(*arguments)))


def _interrupt(chaos: Chaos, name: str, process: subprocess.Popen[bytes]) -> str:
    started, after_s = time.monotonic(), chaos.random.uniform(0.5, chaos.longest_s[name])
    try:
        code = process.wait(after_s)
    except subprocess.TimeoutExpired:
        pass
    else:
        assert code == 0, f"{process.args} ended with {code}"
        chaos.longest_s[name] = time.monotonic() - started
        return "had ended before it could be killed"
    if chaos.random.random() < 0.3:
        process.send_signal(signal.SIGSTOP)
        time.sleep(chaos.random.uniform(1, 5))
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE_S) == 0, f"{process.args} did not go on"
        return f"SIGSTOP after {after_s:.0f} s, SIGCONT"
    process.kill()
    process.wait(30)
    return f"kill -9 after {after_s:.0f} s"


Interrupt = Callable[..., str]


def _launch(chaos: Chaos, interrupt: Interrupt) -> str:
    """Launch another sweep: it is there whole, and goes on, or it is not there at all."""
    name = f"other-{chaos.random.randrange(10**6)}"
    launch = ("launch", str(chaos.folder / "chaos.yaml"), "--name", name, "--trials", "1")
    done = interrupt(*launch)
    exists = (chaos.sweep.folder.parent / name).exists()
    chaos.run(*(("resume", name) if exists else launch))
    records = read_records(SweepFolder.open(name, home=chaos.sweep.folder.parent))
    assert sorted(record.run.key for record in records) == ["baseline-standard", "trial-0000"]
    assert all(record.state in ("complete", "pruned") for record in records)
    return done


def _confirm(chaos: Chaos, interrupt: Interrupt) -> str:
    """Confirm: no report is lost and no run is there twice."""
    confirm = ("confirm", "chaos", "--top", "1", "--seeds", "2", "--images", "10", "--workers", "1")
    done = interrupt(*confirm)
    before = read_records(chaos.sweep, ("confirm",))
    chaos.run(*confirm)
    records = read_records(chaos.sweep, ("confirm",))
    ended = {record.run.key: record.state for record in before if record.state != "running"}
    check_nothing_lost(rows_of(before), ended, records)
    keys = [record.run.key for record in records]
    assert len(keys) == len(set(keys))
    assert (chaos.sweep.folder / "confirm.json").exists()
    return done


def _evaluate(chaos: Chaos, interrupt: Interrupt) -> str:
    """Evaluate: what has been evaluated stays as it is, and nothing is left out."""
    evaluate = ("evaluate", "chaos", "--images", "10", "--workers", "1")
    done = interrupt(*evaluate)
    before = _evaluations(chaos)
    chaos.run(*evaluate)
    now = _evaluations(chaos)
    assert before.items() <= now.items(), "a run was evaluated twice"
    assert len(now) == sum(record.state == "complete" for record in chaos.records)
    return done


def _evaluations(chaos: Chaos) -> dict[str, bytes]:
    files = {record.run.key: record.run.folder / EVALUATION_FILES["final"] for record in chaos.records}
    return {key: file.read_bytes() for key, file in files.items() if file.exists()}


def _export(chaos: Chaos, interrupt: Interrupt) -> str:
    """Export: the bundle is there whole or not at all."""
    bundles = [chaos.folder / "exports" / f"{chaos.random.randrange(10**6)}" for _ in range(2)]
    done = interrupt("export", "chaos", "--output", str(bundles[0]))
    chaos.run("export", "chaos", "--output", str(bundles[1]))
    contents = [_bundle(bundle) for bundle in bundles if bundle.exists()]
    assert all(content == contents[-1] for content in contents)
    return done


def _bundle(folder: Path) -> dict[str, bytes | list[str]]:
    weights = sorted(load_file(folder / "classifier.safetensors"))
    others = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "provenance.json"}
    return {"weights": weights, **others}


def _sync(chaos: Chaos, interrupt: Interrupt) -> str:
    """Sync: at the end of all rounds MLflow has every run once."""
    done = interrupt("sync", "chaos")
    chaos.run("sync", "chaos")
    return done
