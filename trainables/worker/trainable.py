"""The Ray Tune wrapper: one reusable actor that trains one run after another, each from its newest checkpoint."""

from __future__ import annotations

import functools
from typing import Any

from ray import tune

from trainables.worker import device
from trainables.worker.context import RunTask
from trainables.worker.packages import ensure_packages
from trainables.worker.work import RunWork


class RunTrainable(RunWork, tune.Trainable):
    """Trains the run of a `RunTask`, which is its configuration as plain data; each step returns one report."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take over a run."""
        self._take(RunTask.from_config(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over the next run in the same process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Leave the run as it is."""
        self._let_go()

    def step(self) -> dict[str, Any]:
        """Train until the next report and save it in a checkpoint; a restored run first repeats its last report.

        Raises:
            FencedError: a later attempt at the run has begun.
            UserError: this node has not the packages that the sweep was launched with; another one may have.
            StorageError: the packages cannot be read from the sweep's storage.
        """
        if self._loop is None:
            ensure_packages(self._run.settings.get("code", {}), self._run.context.sweep_place)
        try:
            with self._log.capture():
                loop = self._loop = self._loop or self._start()
                metrics, self._replay = self._replay or self._train(loop), None
        except Exception as error:  # whatever a run raises is its result; the sweep goes on
            return self._failed_by(error)
        finally:
            self._log.keep()
        return self._result(loop, metrics)

    @property
    def _gpu_share(self) -> float:  # type: ignore[override]
        resources = self.trial_resources
        return float(resources.required_resources.get("GPU", 0.0)) if resources else 0.0

    @functools.cached_property  # a worker keeps what it was given
    def _device(self) -> str:  # type: ignore[override]
        return device.own_device(self._gpu_share)
