"""No secret survives in text that others read, and other text stays as it is."""

from __future__ import annotations

import contextlib
import os
import re
import string
import sys
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from trainables.common import redaction
from trainables.common.process_state import redacted_output, unmasked_output
from trainables.common.redaction import MASK, holds_secret, redact, redact_arguments
from trainables.errors import DataError, StorageError

SCHEMES = st.sampled_from(
    ["http", "https", "s3", "gs", "postgresql", "postgresql+psycopg", "mysql+pymysql", "ftp", "a.b-c+d"]
)
HOSTS = st.sampled_from(["host", "host.example:8080", "[::1]:5000", "one:1,two:2", "127.0.0.1"])
# Not in it: a space ends a URL in a sentence.
RAW = st.text(string.ascii_letters + string.digits + "/@:?#&=%+!$*().,~|", min_size=8, max_size=30)
PASSWORDS = st.text(min_size=8, max_size=30).filter(lambda text: text.isprintable())
OPTIONS = st.sampled_from(
    [
        *("sig", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature"),
        *(
            "X-Goog-Signature",
            "access_token",
            "api_key",
            "apikey",
            "key",
            "password",
            "sslpassword",
            "auth",
            "jwt",
            "%73ig",
        ),
    ]
)
NAMES = st.sampled_from(
    [
        "password",
        "PGPASSWORD",
        "--password",
        "api-key",
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "AccountKey",
        "client_secret",
    ]
)
SENTENCES = [
    "{}",
    "cannot reach {}: refused",
    '{{"url":"{}","of":"me@here"}}',
    "['{}', 'b']",
    "a=1,{} and http://host/x",
]


@given(SCHEMES, HOSTS, PASSWORDS, st.sampled_from(SENTENCES))
def test_no_password_of_a_url_survives(scheme, host, password, sentence):
    encoded = quote(password, safe="")
    text = redact(sentence.format(f"{scheme}://me:{encoded}@{host}/x?a=b#c"))
    assert encoded not in text.replace(f"{host}/x?a=b#c", "").replace(scheme, "")
    assert f"{scheme}://{MASK}@{host}/x?a=b#c" in text
    assert redact(text) == text


@given(RAW, HOSTS)
def test_no_password_that_should_have_been_encoded_survives(password, host):
    begins_as_port = password.lstrip(string.digits)[:1] in ("", "/", "?", "#", ",")
    begins_url = re.search(r"[A-Za-z][\w+.-]*://", password)  # nobody can tell whether another one follows
    if not (begins_as_port or begins_url):
        assert redact(f"see http://me:{password}@{host}") == f"see http://{MASK}@{host}"


@given(SCHEMES, HOSTS, OPTIONS, PASSWORDS)
def test_no_secret_option_of_a_url_survives(scheme, host, option, secret):
    encoded = quote(secret, safe="")
    text = redact(f"tried '{scheme}://{host}/x?a=b&{option}={encoded}&c=d' and /x?{option}={encoded}")
    assert text == f"tried '{scheme}://{host}/x?a=b&{option}={MASK}&c=d' and /x?{option}={MASK}"


@given(NAMES, st.text(string.ascii_letters + string.digits + "/+@:!", min_size=1), st.sampled_from(["", "'", '"']))
def test_no_secret_after_a_name_survives(name, secret, quotation):
    assume(secret.lower() not in ("basic", "bearer", "digest", "token"))  # a scheme: what follows is masked, too
    assert redact(f"x=1 {name}={quotation}{secret}{quotation} y=2") == f"x=1 {name}={quotation}{MASK}{quotation} y=2"
    assert redact_arguments(["a", f"{name}={secret}", "b"]) == ["a", f"{name}={MASK}", "b"]


@given(st.text(min_size=1), st.sampled_from(["--password", "-password", "--api-key", "--token", "--key"]))
def test_no_secret_after_an_option_survives(secret, option):
    arguments = ["tuner", "--home", "here", option, secret, "--trials", "3"]
    masked = ["tuner", "--home", "here", option, MASK, "--trials", "3"]
    assert redact_arguments(arguments) == redact_arguments(masked) == masked
    assert holds_secret(*arguments) is (secret != MASK)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Basic aHVzaA==", "Authorization: ***"),
        ("{'Authorization': 'Bearer hush', 'x': 1}", "{'Authorization': '***', 'x': 1}"),
        ("https://TOKEN@github.com/a", "https://***@github.com/a"),
        ("environ['PGPASSWORD'] = 'hush'", "environ['PGPASSWORD'] = '***'"),
        ("http://h:1,http://me:hush@h:2", "http://h:1,http://***@h:2"),
        ("-----BEGIN RSA PRIVATE KEY-----\nhush\n-----END RSA PRIVATE KEY-----", "***"),
        (f"with ghp_{'x' * 36}", "with ***"),
        ("AccountName=a;AccountKey=hush==;EndpointSuffix=b", "AccountName=a;AccountKey=***;EndpointSuffix=b"),
    ],
)
def test_other_places_of_secrets(text, masked):
    assert redact(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://tuner@db:5432/studies?sslmode=verify-full&passfile=/a&sslkey=/b&require_auth=scram-sha-256",
        "abfs://container@account.dfs.core.windows.net/x, http://[::1]:5000/x, http://host:80/models/x@champion",
        "s3://bucket/x?region=eu&endpoint_override=host:9&allow_delayed_open=true",
        "put it into PGPASSWORD, or into a file that PGPASSFILE names (mode 0600, host:port:database:user:password)",
        "RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH=/root/.ray/auth_token, sqlite:////tmp/a@b/mlflow.db, models:/a@b",
        "password authentication failed for user 'tuner'; a token: RAY_AUTH_TOKEN; the bearer of news; a basic idea",
        'File "/x/token.py", line 3, in password\n    key = compute(token)',
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    assert redact(text) == text
    assert redact_arguments(text.split()) == text.split()


@given(st.text(string.printable.translate(str.maketrans("", "", "=:@'\"")), max_size=200))
def test_text_without_urls_and_assignments_stays_as_it_is(text):
    assert redact(text) == text


def test_whoever_waits_for_output_is_told_before_there_is_any(tmp_path):
    told = []
    with (
        (tmp_path / "output").open("w") as file,
        contextlib.redirect_stdout(file),
        redacted_output(told.append),
    ):
        sys.stdout.write("text")
        sys.stdout.buffer.write(b"bytes")
        unmasked_output().write("a secret")
    assert told == ["text", None, None]
    assert (tmp_path / "output").stat().st_size == len("textbytesa secret")


def test_values_of_the_environment_are_masked_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "abc/def+ghi")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:pa ss/w%40rd@db/x")
    monkeypatch.setenv("PGPASSWORD", "hunter")
    monkeypatch.setenv("PGPASSFILE", "/a/file")
    monkeypatch.setenv("SHORT_TOKEN", "ab")
    text = "abc/def+ghi abc%2Fdef%2Bghi pa ss/w%40rd pa ss/w@rd hunter hunters /a/file ab"
    assert redact(text) == "*** *** *** *** *** hunters /a/file ab"


def test_errors_do_not_repeat_secrets():
    for kind in (DataError, StorageError):
        assert str(kind("http://me:hush@host/x is away")) == "http://***@host/x is away"


def test_a_variable_that_another_thread_removes_meanwhile_ends_nothing(monkeypatch):
    """MLflow's thread sets and removes some while the driver prints."""
    monkeypatch.setenv("A_PASSWORD", "marked-value")
    monkeypatch.setenv("ZZ_REMOVED", "1")
    is_secret = redaction._is_secret_variable

    def remove(name: str, value: str) -> bool:
        os.environ.pop("ZZ_REMOVED", None)
        return is_secret(name, value)

    monkeypatch.setattr(redaction, "_is_secret_variable", remove)
    assert redact("it is marked-value") == f"it is {MASK}"
