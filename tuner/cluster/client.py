"""A Ray cluster as seen from elsewhere, through its Jobs API: jobs of ours are submitted, found, read, stopped."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails

from tuner.cluster.auth import read_token, token_path
from tuner.cluster.ray_internals import JobClient
from tuner.errors import UserError

TIMEOUT_S = 30.0
_TRIES = 3
_KEPT_S = 60.0
_MINE = "tuner.nonce"


class UnreachableError(UserError):
    """The cluster does not answer; it may when it is asked again."""


@dataclass(frozen=True)
class Job:
    """A job on the cluster; ``metadata`` is what was submitted with it."""

    id: str
    status: str
    metadata: Mapping[str, str]
    exit_code: int | None
    message: str
    started: int

    @property
    def has_ended(self) -> bool:
        """Whether it works no more."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class Cluster:
    """One cluster, asked with this machine's token. Whatever goes wrong on the way is a `UserError` in words.

    Args:
        address: of its Jobs API, like ``http://head:8265``.
        insecure: somebody has typed that a cluster which asks for no token will do.

    Raises:
        UserError: it cannot be reached, has another Ray, wants another token, or none at all.
    """

    def __init__(self, address: str, *, insecure: bool = False) -> None:
        self.address = check_address(address)
        has_token = self._asks_for_a_token()
        if not has_token and not insecure:
            raise UserError(
                f"{self.address} asks for no token: whoever reaches it can run code on it. Start its nodes with "
                "`tuner cluster head` and `join`, or with RAY_AUTH_MODE=token; --insecure goes on all the same"
            )
        token = read_token() if has_token else None
        if has_token and token is None and os.environ.get("RAY_AUTH_MODE") != "k8s":
            raise UserError(_about_token(self.address, 401))
        self._client = _client(self.address, token)

    def _asks_for_a_token(self) -> bool:
        with _in_words(self.address):
            answer = requests.get(f"{self.address}/api/version", timeout=TIMEOUT_S)
            if answer.status_code in (401, 403):
                return True
            answer.raise_for_status()
            _check_version(answer.json()["ray_version"])
        return False

    def jobs(self) -> list[Job]:
        """Return the jobs that were submitted here, oldest first."""
        with _in_words(self.address):
            found = [_job(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted((job for job in found if _MINE in job.metadata), key=lambda job: (job.started, job.id))

    def job(self, job_id: str) -> Job | None:
        """Return a job, None if there is none of that name."""
        with _in_words(self.address):
            try:
                return _job(self._client.get_job_info(job_id))
            except RuntimeError as error:
                if "status code 404" in str(error):
                    return None
                raise

    def submit(
        self, job_id: str, entrypoint: str, metadata: Mapping[str, str], environment: Mapping[str, str], nonce: str
    ) -> bool:
        """Submit a job once, even where the answer to that is lost; return False if its name is taken.

        Args:
            job_id: its name.
            entrypoint: the shell command.
            metadata: to be found again with it.
            environment: variables of the command and of all that it starts on the cluster; everybody can read them.
            nonce: of this submission alone.
        """
        for left in reversed(range(_TRIES)):
            try:
                with _in_words(self.address):
                    self._client.submit_job(
                        entrypoint=entrypoint,
                        submission_id=job_id,
                        metadata={**metadata, _MINE: nonce},
                        runtime_env={"env_vars": dict(environment)},
                    )
                    return True
            except UserError as error:
                there = self._after(error, job_id)
                if there is not None:
                    return there.metadata.get(_MINE) == nonce
                if not left or not isinstance(error, UnreachableError):
                    raise
        return False

    def _after(self, error: UserError, job_id: str) -> Job | None:
        """Look whether a submission that seems to have failed has come through."""
        time.sleep(1.0)
        try:
            return self.job(job_id)
        except UserError:
            raise error from None

    def log(self, job_id: str) -> str:
        """Return everything that a job has written, Ray's own lines included."""
        with _in_words(self.address):
            return str(self._client.get_job_logs(job_id))

    def stop(self, job_id: str) -> None:
        """Ask a job to end by Ctrl-C; what has not ended in a minute is killed."""
        with _in_words(self.address):
            self._client.stop_job(job_id)

    def forget(self, prefix: str) -> None:
        """Delete the jobs of that prefix that ended a minute ago: earlier, Ray brings one back as a failed one."""
        latest = 1000 * (time.time() - _KEPT_S)
        with _in_words(self.address):
            ended = [str(one.submission_id) for one in self._client.list_jobs() if (one.end_time or latest) < latest]
        for job_id in ended:
            if job_id.startswith(prefix):
                with contextlib.suppress(UserError), _in_words(self.address):  # somebody else may be faster
                    self._client.delete_job(job_id)


def check_address(address: str) -> str:
    """Return the address of a Jobs API without what may follow it.

    Raises:
        UserError: it is none, or holds a password.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        shown = f"{parts.scheme}://...@{parts.hostname}" if "@" in parts.netloc else address
        raise UserError(
            f"--cluster must be the address of a cluster's Jobs API, like http://head:8265 and without user or "
            f"password, not {shown!r}; the token comes from RAY_AUTH_TOKEN or the file that RAY_AUTH_TOKEN_PATH names"
        )
    return address.rstrip("/")


def _client(address: str, token: str | None) -> JobClient:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    with _in_words(address):
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        client = JobClient(address, timeout_s=TIMEOUT_S, headers=headers, verify=verify)
        _check_version(client.ray_version)
        return client


def _check_version(there: str | None) -> None:
    if there != ray.__version__:
        raise UserError(
            f"the cluster has Ray {there}, this machine {ray.__version__}: install the same on both sides "
            "(its image, or this machine)"
        )


def _job(details: JobDetails) -> Job:
    return Job(
        id=str(details.submission_id),
        status=str(details.status.value),
        metadata=details.metadata or {},
        exit_code=details.driver_exit_code,
        message=details.message or "",
        started=details.start_time or 0,
    )


@contextlib.contextmanager
def _in_words(address: str) -> Iterator[None]:
    """Say in words what may go wrong between here and a cluster."""
    try:
        yield
    except UserError:
        raise
    except requests.exceptions.SSLError as error:
        raise UnreachableError(
            f"{address} shows no certificate that is trusted here ({_last(error)}): REQUESTS_CA_BUNDLE names the file "
            "of the authority that has signed it"
        ) from None
    except requests.exceptions.Timeout:
        raise UnreachableError(f"{address} has not answered in {TIMEOUT_S:g} s: is it the address of a head?") from None
    except (requests.exceptions.ConnectionError, ConnectionError):
        raise UnreachableError(
            f"{address} cannot be reached: is the cluster up, and the way to it open (`ssh -L 8265:127.0.0.1:8265 "
            "HEAD` forwards a head's port)?"
        ) from None
    except AuthenticationError as error:
        raise UserError(
            _about_token(address, 401 if str(error).startswith("Authentication required") else 403)
        ) from None
    except (requests.exceptions.RequestException, ValueError, LookupError) as error:
        raise UserError(f"{address} does not answer as the Jobs API of a Ray cluster does: {_last(error)}") from None
    except RuntimeError as error:
        # A head that has just started says so until its agent is up.
        kind = UnreachableError if "please try again later" in str(error) else UserError
        raise kind(f"{address} refuses: {_last(error)}") from None


def _about_token(address: str, code: int) -> str:
    if code == 401:
        return (
            f"{address} wants a token (401): put the cluster's into RAY_AUTH_TOKEN or into {token_path()} (mode 0600), "
            "or name its file in RAY_AUTH_TOKEN_PATH"
        )
    source = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(token_path())
    return f"the token in {source} is not that of {address} (403): RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH name another"


def _last(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1] if lines else type(error).__name__
