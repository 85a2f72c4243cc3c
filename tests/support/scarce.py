"""The command line on GPUs that exist for Ray only: a run is said to take 2 GB of 8, and some find no more memory.

They compute on processors.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from trainables.training.loop import TrainingLoop
from trainables.worker.footprint import Footprint
from trainables.worker.trainable import RunTrainable

NEEDED = {"trial-0000": 0.5, "trial-0001": 1.0, "trial-0002": 2.0}
"""Of a GPU, by the runs' keys."""


def measure(*arguments: object) -> Footprint:
    return Footprint(8000.0, 2000.0)


class Scarce(RunTrainable):
    _device = "cpu"

    def _train(self, loop: TrainingLoop) -> dict[str, float]:
        if self._gpu_share < NEEDED[self._run.key]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super()._train(loop)


if __name__ == "__main__":
    # To pickle a class of this file, Ray looks through all modules; one that the mirror has half imported breaks then.
    import mlflow.tracking  # noqa: F401

    from tests.support.undrawn import draw_nothing
    from tuner.cli.app import main
    from tuner.execution import driver
    from tuner.execution.ray_tune import gpus

    draw_nothing()
    here: Any = gpus
    here.measure_gpu = measure
    driver.execute = functools.partial(driver.execute, trainable=Scarce)
    main()
