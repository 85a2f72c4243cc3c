"""Keeps MLflow up to date with a sweep while it runs: a thread that neither stops nor slows the sweep."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainables.common.retries import RetryPolicy
from tuner.sweep.runs import Record
from tuner.sweep.snapshot import Snapshot
from tuner.tracking.server import quiet_mlflow
from tuner.tracking.sync import not_presented
from tuner.tracking.writer import MlflowWriter

_GATHER_S = 1.0
_PRESENT_EVERY_S = 20.0
_PRESENT_SHARE = 0.02  # of the time, at most: what it takes grows with the number of runs
_RETRIES = RetryPolicy(first_wait_s=1.0, longest_wait_s=30.0)


class Mirror:
    """Sends the newest state of each changed run to MLflow from a thread, which runs while the mirror is entered.

    Args:
        connect: returns a connection to MLflow; called in the thread, again after each failure.
        warn: told once, in the thread, that MLflow cannot be written.
        snapshot: returns how far the sweep has come, see `MlflowWriter.present`; called in the thread.
    """

    def __init__(
        self,
        connect: Callable[[], MlflowWriter],
        warn: Callable[[str], None],
        snapshot: Callable[[], Snapshot] | None = None,
    ) -> None:
        self._connect = connect
        self._warn = warn
        self._snapshot = snapshot
        self._present_next = 0.0
        self._warned = False
        self._writer: MlflowWriter | None = None
        self._changed: dict[str, Record] = {}
        self._wake = threading.Condition()
        self._sending = True
        self._closing = False
        self._last_chance_taken = False
        self._has_given_up = False
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)

    def __enter__(self) -> Mirror:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the thread: at once where it waits, after its current request to MLflow otherwise."""
        self._abandoned.set()
        with self._wake:
            self._closing = True
            self._wake.notify()

    def changed(self, record: Record) -> None:
        """Note that a run has changed; only its newest state is sent."""
        with self._wake:
            self._changed[record.run.key] = record
            self._wake.notify()

    @property
    def is_up_to_date(self) -> bool:
        """Whether MLflow has been sent every change."""
        with self._wake:
            return not self._changed and not self._sending

    def close(
        self,
        timeout_s: float,
        *,
        state: str,
        winners: Sequence[Record],
        pictures: Mapping[str, Sequence[Path]],
        snapshot: Snapshot | None = None,
    ) -> bool:
        """Send what is left, and end the sweep's own run in MLflow.

        Args:
            timeout_s: seconds that sending what is left may take.
            state: of the sweep, see `tuner.tracking.writer.MlflowWriter.finish`.
            winners: likewise.
            pictures: likewise.
            snapshot: how far the sweep has come, see `MlflowWriter.present`.

        Returns:
            Whether MLflow is up to date.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        if self._thread.is_alive() or self._writer is None or self._changed:
            return False
        try:
            with quiet_mlflow():
                if snapshot is not None:
                    self._present_last(self._writer, snapshot)
                self._writer.finish(state, winners, pictures)
        except Exception as error:
            self._trouble(error)
            return False
        return True

    def _work(self) -> None:
        with contextlib.suppress(Exception):  # the last attempt's error, which `_trouble` has handled
            while _RETRIES.call(self._send_changes, lambda error: not self._has_given_up, sleep=self._abandoned.wait):
                pass

    def _send_changes(self) -> bool:
        """Wait for changes and send them; return False when no more are to be sent."""
        if self._abandoned.is_set():
            return False
        with self._wake:
            # The first connection waits for nothing: that MLflow is out of reach is said before anything runs.
            self._wake.wait_for(lambda: self._writer is None or self._changed or self._closing)
            # Several changes of a run are one write: of short runs, MLflow often sees beginning and end together.
            self._wake.wait_for(lambda: self._closing, timeout=_GATHER_S)
            if not self._changed and self._writer is not None:
                return False
            batch, self._changed, self._sending = self._changed, {}, True
        try:
            with quiet_mlflow():
                self._send(batch)
            self._sending = False
        except Exception as error:
            self._trouble(error)
            self._writer = None  # what MLflow has now is found out anew: a request may have done its work unheard
            with self._wake:
                self._changed = {**batch, **self._changed}
                self._has_given_up = self._closing and self._last_chance_taken
                self._last_chance_taken = self._closing
            raise
        return True

    def _send(self, batch: dict[str, Record]) -> None:
        """Send records, and remove each from the batch once it has been sent."""
        self._writer = self._writer or self._connect()
        for key in list(batch):
            if self._abandoned.is_set():
                return
            self._writer.write(batch[key])
            del batch[key]
        if self._snapshot is not None and not self._closing:
            self._present(self._writer, self._snapshot)

    def _present(self, writer: MlflowWriter, snapshot: Callable[[], Snapshot]) -> None:
        """Show how far the sweep has come, if the last time is long enough ago; nothing depends on it."""
        began = time.monotonic()
        if began >= self._present_next:
            with contextlib.suppress(Exception):  # it is tried again, and said if the last attempt fails
                writer.present(snapshot())
            now = time.monotonic()
            self._present_next = now + max(_PRESENT_EVERY_S, (now - began) / _PRESENT_SHARE)

    def _present_last(self, writer: MlflowWriter, snapshot: Snapshot) -> None:
        try:
            writer.present(snapshot)
        except Exception as error:
            self._warn(not_presented(writer.sweep_name, error))

    def _trouble(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"MLflow cannot be written, the sweep goes on without it: {str(error).splitlines()[0]}")
