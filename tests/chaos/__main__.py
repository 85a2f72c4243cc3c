"""The chaos test: ``python -m tests.chaos --rounds 20 --seed 0`` does a random fault to one sweep, again and again.

Every round asks for one or two trials more, waits until some of them are at work, and does one thing: kills the
driver, a worker, a pack of runs (with ``--pack 3``), a machine of the cluster (one of two raylets here) or the MLflow
server, keeps the ledger's file and MLflow's database locked, stops the driver for a while, kills it in a pause, or
starts two drivers at once; or it lets the driver end, and kills or stops a launch of another sweep, confirm, evaluate,
export or sync. After each round nothing that was reported may be lost; at the end every run is there once.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.rounds import FAULTS, Chaos


def main() -> None:
    """Run the rounds and print what each did."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--pack", type=int, default=1, help="how many runs train in one process")
    arguments = parser.parse_args()
    if arguments.pack == 1 and "pack" in arguments.faults:
        arguments.faults.remove("pack")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        Chaos(Path(folder), arguments.seed, arguments.pack) as chaos,
    ):
        for number in range(arguments.rounds):
            chaos.round(number, arguments.faults)
        chaos.finish()


if __name__ == "__main__":
    sys.exit(main())
