"""Makes the recorded curves again from a sweep's folder: ``python -m tests.benchmarks.curves SWEEP_FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks import curves
from tuner.studies import read_records
from tuner.sweep import Sweep

folder = Path(sys.argv[1]).absolute()
missing = curves.write(read_records(Sweep.open(folder.name, home=folder.parent)))
print(f"{curves.TRIALS}: {missing} points of the grid are missing" if missing else f"{curves.TRIALS}: every point")
