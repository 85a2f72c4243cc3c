"""Makes the recorded curves again from a sweep's folder: ``python -m tests.benchmarks.curves SWEEP_FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks import curves
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records

folder = Path(sys.argv[1]).absolute()
missing = curves.write(read_records(SweepFolder.open(folder.name, home=folder.parent)))
print(f"{curves.TRIALS}: {missing} points of the grid are missing" if missing else f"{curves.TRIALS}: every point")
