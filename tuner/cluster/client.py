"""A Ray cluster seen from another machine, through its Jobs API: jobs are submitted, listed, read and stopped."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails

from trainables.common.redaction import holds_secret
from trainables.common.retries import RetryPolicy
from tuner.cluster.auth import read_token, token_path
from tuner.cluster.payload import UPLOADED, without_control
from tuner.cluster.ray_internals import JobClient
from tuner.errors import UserError

TIMEOUT_S = 30.0
MAX_ANSWER = 128 * 1024**2  # a log with an encoded result in it, see `tuner.cluster.payload`
_RETRIES = RetryPolicy(first_wait_s=0.0, num_attempts=3)
_MIN_AGE_S = 60.0  # of an ended job that is deleted: earlier, Ray brings it back as a failed one
_NONCE = "tuner.nonce"


def _read_bounded(response: requests.Response, **options: object) -> requests.Response:
    """Read the body of a response.

    Raises:
        requests.exceptions.RequestException: it is larger than any answer that is asked for.
    """
    body = bytearray()
    for part in response.iter_content(2**16):
        body += part
        if len(body) > MAX_ANSWER:
            response.close()
            raise requests.exceptions.ContentDecodingError(f"an answer of more than {MAX_ANSWER / 1e6:.0f} MB")
    response._content = bytes(body)  # where `requests` keeps a body that was read
    return response


_BOUNDED = {"response": _read_bounded}


class UnreachableError(UserError):
    """The cluster does not answer; trying again later may help."""


@dataclass(frozen=True)
class Job:
    """A job on the cluster.

    Args:
        id: its name.
        status: as Ray calls it: ``PENDING``, ``RUNNING``, ``STOPPED``, ``SUCCEEDED`` or ``FAILED``.
        metadata: what was submitted with it.
        exit_code: that of its command, None before it has ended or if it could not start.
        message: why it could not start, in Ray's words.
        started: the time, in ms since the epoch.
    """

    id: str
    status: str
    metadata: Mapping[str, str]
    exit_code: int | None
    message: str
    started: int

    @property
    def has_ended(self) -> bool:
        """Whether its command has ended."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class Cluster:
    """A connection to the Jobs API of a cluster, with this machine's token.

    Every method raises `UserError` if the request fails, and its subclass `UnreachableError` if there is no answer.

    Args:
        address: of the Jobs API, like ``http://head:8265``.
        insecure: accept a cluster that requires no token.

    Raises:
        UserError: it cannot be reached, has another release of Ray, requires another token, or requires none.
    """

    def __init__(self, address: str, *, insecure: bool = False) -> None:
        self.address = check_address(address)
        requires_token = self._requires_token()
        if not requires_token and not insecure:
            raise UserError(
                f"{self.address} asks for no token: whoever reaches it can run code on it. Start its nodes with "
                "`tuner cluster head` and `join`, or with RAY_AUTH_MODE=token; --insecure goes on all the same"
            )
        token = read_token() if requires_token else None
        if requires_token and token is None and not os.environ.get("RAY_ENABLE_K8S_TOKEN_AUTH"):
            raise UserError(_token_message(self.address, 401))
        self._client = _client(self.address, token)

    def _requires_token(self) -> bool:
        with _translated_errors(self.address):
            answer = requests.get(f"{self.address}/api/version", timeout=TIMEOUT_S, stream=True, hooks=_BOUNDED)
            if answer.status_code in (401, 403):
                return True
            answer.raise_for_status()
            _check_version(answer.json()["ray_version"])
        return False

    def jobs(self) -> list[Job]:
        """Return the jobs that `submit` has made, by whomever, oldest first."""
        with _translated_errors(self.address):
            jobs = [_job(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted((job for job in jobs if _NONCE in job.metadata), key=lambda job: (job.started, job.id))

    def job(self, job_id: str) -> Job | None:
        """Return the job of that name, None if there is none."""
        with _translated_errors(self.address):
            try:
                return _job(self._client.get_job_info(job_id))
            except RuntimeError as error:
                if "status code 404" in str(error):
                    return None
                raise

    def submit(
        self,
        job_id: str,
        entrypoint: str,
        metadata: Mapping[str, str],
        environment: Mapping[str, str],
        nonce: str,
        uploads: Mapping[str, bytes],
    ) -> bool:
        """Submit a job once, even if the answer to the request is lost; return False if its name is taken.

        Args:
            job_id: its name.
            entrypoint: the shell command.
            metadata: by which it can be found again.
            environment: variables of the command and of all that it starts on the cluster; everybody can read them.
            nonce: a random text that tells this submission from others of the same name.
            uploads: contents of files by their names; the job finds them in `UPLOADED`, a folder of its current one.
        """

        def attempt() -> bool:
            try:
                with _translated_errors(self.address), _folder_of(uploads) as folder:
                    self._client.submit_job(
                        entrypoint=entrypoint,
                        submission_id=job_id,
                        metadata={**metadata, _NONCE: nonce},
                        runtime_env={"env_vars": dict(environment), **({"working_dir": folder} if folder else {})},
                    )
                    return True
            except UserError as error:
                existing = self._job_after(error, job_id)
                if existing is None:
                    raise
                return existing.metadata.get(_NONCE) == nonce

        return _RETRIES.call(attempt, lambda error: isinstance(error, UnreachableError))

    def _job_after(self, error: UserError, job_id: str) -> Job | None:
        """Return the job of a submission that seems to have failed, if the cluster has received it all the same."""
        time.sleep(1.0)
        try:
            return self.job(job_id)
        except UserError:
            raise error from None

    def log(self, job_id: str) -> str:
        """Return everything that a job has written, Ray's own lines included."""
        with _translated_errors(self.address):
            return str(self._client.get_job_logs(job_id))

    def stop(self, job_id: str) -> None:
        """Send SIGINT to a job; if it has not ended in a minute, it is killed."""
        with _translated_errors(self.address):
            self._client.stop_job(job_id)

    def delete_ended(self, prefix: str) -> None:
        """Delete the jobs whose names begin with a prefix and that ended at least a minute ago."""
        latest = 1000 * (time.time() - _MIN_AGE_S)
        with _translated_errors(self.address):
            ended = [str(job.submission_id) for job in self._client.list_jobs() if (job.end_time or latest) < latest]
        for job_id in ended:
            if job_id.startswith(prefix):
                with contextlib.suppress(UserError), _translated_errors(self.address):  # somebody else may be faster
                    self._client.delete_job(job_id)


@contextlib.contextmanager
def _folder_of(uploads: Mapping[str, bytes]) -> Iterator[str | None]:
    """Give a folder of which Ray makes the job's current folder; None if nothing is uploaded."""
    if not uploads:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tuner-upload-") as folder:
        inner = Path(folder) / UPLOADED  # workers look for modules in the current folder: there is none
        inner.mkdir()
        for name, content in uploads.items():
            (inner / name).write_bytes(content)
        yield folder


def check_address(address: str) -> str:
    """Return the address of a Jobs API without trailing slashes.

    Raises:
        UserError: it is no such address, or holds a password.
    """
    parts = urlsplit(address)
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc or holds_secret(address))
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise UserError(
            f"--cluster must be the address of a cluster's Jobs API, like http://head:8265 and without user, password "
            f"or options, not {address!r}; the token comes from RAY_AUTH_TOKEN or the file RAY_AUTH_TOKEN_PATH"
        )
    return address.rstrip("/")


def _client(address: str, token: str | None) -> JobClient:
    headers = {"Authorization": f"Bearer {token}"} if token else None
    with _translated_errors(address):
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        requests_options = {"timeout": TIMEOUT_S, "stream": True, "hooks": _BOUNDED}
        client = JobClient(address, requests_options, headers=headers, verify=verify)
        _check_version(client.ray_version)
        return client


def _check_version(on_cluster: str | None) -> None:
    if on_cluster != ray.__version__:
        raise UserError(
            f"the cluster has Ray {on_cluster}, this machine {ray.__version__}: install the same on both sides "
            "(its image, or this machine)"
        )


def _job(details: JobDetails) -> Job:
    return Job(
        id=without_control(str(details.submission_id)),
        status=str(details.status.value),
        metadata=details.metadata or {},
        exit_code=details.driver_exit_code,
        message=without_control(details.message or ""),
        started=details.start_time or 0,
    )


@contextlib.contextmanager
def _translated_errors(address: str) -> Iterator[None]:
    """Raise what requests and Ray's client raise as a `UserError` that says what to do."""
    try:
        yield
    except UserError:
        raise
    except requests.exceptions.SSLError as error:
        raise UnreachableError(
            f"{address} shows no certificate that is trusted here ({_last_line(error)}): REQUESTS_CA_BUNDLE names the "
            "file of the authority that has signed it"
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
            _token_message(address, 401 if str(error).startswith("Authentication required") else 403)
        ) from None
    except (requests.exceptions.RequestException, ValueError, LookupError) as error:
        raise UserError(
            f"{address} does not answer as the Jobs API of a Ray cluster does: {_last_line(error)}"
        ) from None
    except RuntimeError as error:
        # A head that has just started says so until its agent is up.
        kind = UnreachableError if "please try again later" in str(error) else UserError
        raise kind(f"{address} refuses: {_last_line(error)}") from None


def _token_message(address: str, code: int) -> str:
    if code == 401:
        return (
            f"{address} wants a token (401): put the cluster's into RAY_AUTH_TOKEN or into {token_path()} (mode 0600), "
            "or name its file in RAY_AUTH_TOKEN_PATH"
        )
    source = "RAY_AUTH_TOKEN" if os.environ.get("RAY_AUTH_TOKEN") else str(token_path())
    return f"the token in {source} is not that of {address} (403): RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH name another"


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in without_control(str(error)).splitlines() if line.strip(" .")]
    return lines[-1] if lines else type(error).__name__
