"""One policy of retries, for networks, databases and object stores that are out of reach for a while."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from tenacity import RetryCallState

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failed action is tried again, and how long to wait in between.

    Attributes:
        first_wait_s: wait after the first failure, in seconds; each further wait is twice as long.
        longest_wait_s: upper bound of a wait.
        patience_s: an attempt that fails so long after the first one began is the last.
        num_attempts: maximum number of attempts.
    """

    first_wait_s: float
    longest_wait_s: float = math.inf
    patience_s: float = math.inf
    num_attempts: float = math.inf

    def call(
        self,
        action: Callable[[], _Result],
        is_transient: Callable[[Exception], bool],
        on_first_failure: Callable[[Exception, float], None] | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> _Result:
        """Return what an action returns; call it again while it raises transient errors.

        Args:
            action: what is tried; it must be correct to call it again although an earlier call had an effect.
            is_transient: whether an error may pass by itself.
            on_first_failure: called before the first wait, with the error and the seconds left to try again.
            sleep: waits for that many seconds, or less if there is no need to go on waiting; by default `time.sleep`.

        Raises:
            Exception: the error of the last attempt, if it is not transient or the policy allows no further one.
        """
        # Only here, so that training needs torch, numpy, pydantic and safetensors alone.
        from tenacity import (
            Retrying,
            retry_if_exception,
            stop_after_attempt,
            stop_after_delay,
            stop_any,
            wait_exponential,
        )

        def before_sleep(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            if on_first_failure and state.attempt_number == 1 and isinstance(error, Exception):
                on_first_failure(error, self.patience_s - (state.seconds_since_start or 0.0))

        def wait(seconds: float) -> None:
            (sleep or time.sleep)(seconds)

        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, Exception) and is_transient(error)),
            stop=stop_any(stop_after_delay(self.patience_s), stop_after_attempt(self.num_attempts)),  # type: ignore[arg-type]
            wait=wait_exponential(multiplier=self.first_wait_s, max=self.longest_wait_s),
            before_sleep=before_sleep,
            sleep=wait,
            reraise=True,
        )
        return retrying(action)
