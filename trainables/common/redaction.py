"""Secrets in text, masked as ``***``: in messages, logs and files that others read.

A secret is what stands before the ``@`` of a URL, the value of an option such as ``?sig=`` or ``X-Amz-Signature=``, a
value after a name such as ``password=`` or ``--api-key``, a token of a well-known form, and, wherever it stands, the
value of an environment variable with such a name.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from urllib.parse import quote, unquote

MASK = "***"
_SECRET_NAME = re.compile(
    r"passw(or)?d|passphrase|pwd|secret|token(?!i)|credential|signature|cookie|jwt"
    r"|(api|access|account|private|shared|master|signing|encryption|storage)[-_.]?key",
    re.IGNORECASE,
)
_SECRET_WORDS = {"sig", "key", "auth", "authorization", "bearer", "pass", "pw", "sas", "pat"}
_NO_SECRETS = re.compile(
    r"(file|path|dir|folder|mode|url|uri|ttl|name|required)s?$|^sslkey$|^require_auth$", re.IGNORECASE
)
_URL = re.compile(r"(?<![\w+.-])([A-Za-z][\w+.-]{0,40})://((?:(?![A-Za-z][\w+.-]{0,40}://)\S)+)")
_OPTION = re.compile(r"(?<=[?&])([\w.%~-]{1,80})=([^&;#\s\"'<>]+)")
_OPTION_OF_URL = re.compile(r"(?<=[?&;#])([\w.%~-]{1,80})=([^&;#\s\"'<>]+)")
_ASSIGNED = re.compile(
    r"""(?<![\w.])([\w.-]{0,80}\w)(=|["']\s*[:=]\s*|["']?\]\s*=\s*)("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s,;&'"]+)"""
)
_HEADER = re.compile(
    r"""(\bauthorization["']?\s*[:=]\s*["']?|\bbearer\s+(?=\S*\d))((?:basic|bearer|digest|token)\s+)?[^\s"',]+""",
    re.IGNORECASE,
)
_HEADER_NAME = re.compile("authorization|bearer", re.IGNORECASE)
_KNOWN_FORM = re.compile(
    r"\b(gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|AIza[\w-]{30,}|dapi[0-9a-f]{32}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_BEGINNINGS = (
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "hf_", "sk-", "xox", "AIza", "dapi", "eyJ"),
    "-----BEGIN ",
)
# There, a user without a password says who connects, or which container is meant; elsewhere it may be a token.
_USER_IS_NO_SECRET = re.compile(r"postgres|mysql|mariadb|mssql|oracle|mongodb|ssh|sftp|ftp|git\+ssh|hdfs|abfs|wasb")
_HOSTS = re.compile(r"((^|,)(\[[^\]]*\]|[^:,\[]+)(:\d*)?)+")
_SHORTEST, _LONG = 6, 12  # characters; from the second on, a value is masked within words, too


def redact(text: str) -> str:
    """Return text with every secret in it replaced by ``***``; other text is returned as it is."""
    # A look for what every match has in it is much faster than the pattern, and most text has none of it.
    if "://" in text:
        text = _URL.sub(_masked_url, text)
    if "=" in text:
        text = _OPTION.sub(_masked_option, text)
    if _HEADER_NAME.search(text):
        text = _HEADER.sub(rf"\g<1>{MASK}", text)
    if _SECRET_NAME.search(text):
        text = _ASSIGNED.sub(_masked_value, text)
    if any(beginning in text for beginning in _BEGINNINGS):
        text = _KNOWN_FORM.sub(MASK, text)
    for secret, pattern in _patterns_of(tuple(current_environment().items()), tuple(sys.argv)):
        if secret in text:
            text = pattern.sub(MASK, text)
    return text


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line with every secret in it masked, also one that follows an option such as ``--password``."""
    before = ["", *arguments][: len(arguments)]
    return [
        MASK if _is_secret_option(option) else _redact_argument(argument)
        for option, argument in zip(before, arguments, strict=True)
    ]


def holds_secret(*arguments: str) -> bool:
    """Return whether `redact_arguments` would mask anything."""
    return redact_arguments(arguments) != list(arguments)


def _redact_argument(argument: str) -> str:
    """Mask secrets in one argument, which is one URL if it has ``://`` in it, whatever spaces are in its password."""
    joined = re.sub(r"\s", "%20", argument) if "://" in argument else argument
    masked = redact(joined)
    return argument if masked == joined else masked


def _is_secret_option(argument: str) -> bool:
    return argument.startswith("-") and "=" not in argument and _is_secret_name(argument.lstrip("-"))


def _is_secret_name(name: str) -> bool:
    name = unquote(name)
    if _NO_SECRETS.search(name):
        return False
    return _SECRET_NAME.search(name) is not None or not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", name.lower()))


def _masked_url(match: re.Match[str]) -> str:
    scheme, (userinfo, rest) = match[1], _split_userinfo(match[2])
    if userinfo is not None:
        is_secret = ":" in userinfo or not _USER_IS_NO_SECRET.match(scheme.lower())
        rest = f"{MASK if is_secret else userinfo}@{rest}"
    return f"{scheme}://{_OPTION_OF_URL.sub(_masked_option, rest)}"


def _split_userinfo(rest: str) -> tuple[str | None, str]:
    """Return user and password of a URL, None if it has none, and what follows the ``@``.

    A password may hold characters such as ``/`` and ``@`` that had to be encoded.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    end = authority.rfind("@")
    if authority and (not _HOSTS.fullmatch(authority[end + 1 :]) or ":" in authority[: max(end, 0)]):
        end = rest.partition('"')[0].rfind("@")
    return (None, rest) if end < 0 else (rest[:end], rest[end + 1 :])


def _masked_option(match: re.Match[str]) -> str:
    return f"{match[1]}={MASK}" if _is_secret_name(match[1]) else match[0]


def _masked_value(match: re.Match[str]) -> str:
    name, relation, value = match.groups()
    if value.startswith(MASK) or not _SECRET_NAME.search(name) or _NO_SECRETS.search(name):
        return match[0]
    quotation = value[0] if value[0] in "'\"" else ""
    return f"{name}{relation}{quotation}{MASK}{quotation}"


@functools.lru_cache(maxsize=4)
def _patterns_of(
    variables: tuple[tuple[str, str], ...], arguments: tuple[str, ...]
) -> list[tuple[str, re.Pattern[str]]]:
    """Return the secrets in environment variables and arguments with the pattern that finds each."""
    return [(secret, _pattern_of(secret)) for secret in _secrets_in(variables, arguments)]


def _pattern_of(secret: str) -> re.Pattern[str]:
    within_words = len(secret) >= _LONG or not secret.isalnum()
    return re.compile(re.escape(secret) if within_words else rf"(?<!\w){re.escape(secret)}(?!\w)")


def _secrets_in(variables: Sequence[tuple[str, str]], arguments: Sequence[str]) -> list[str]:
    """Return the secrets in environment variables and arguments, longest first, as they are and as a URL has them."""
    found = {value.strip() for name, value in variables if _is_secret_variable(name, value)}
    for text in (*(value for _, value in variables), *arguments):
        found |= set(_passwords_in(text.strip()))
    found |= {unquote(secret) for secret in found} | {quote(secret, safe="") for secret in found}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def current_environment() -> dict[str, str]:
    """Return the environment variables as they are now; other threads may set and remove some meanwhile."""
    return {name: value for name in list(os.environ) if (value := os.environ.get(name)) is not None}


def _is_secret_variable(name: str, value: str) -> bool:
    if _NO_SECRETS.search(name) or (value.startswith("/") and os.path.exists(value)):  # noqa: PTH110
        return False
    return _SECRET_NAME.search(name) is not None or name.endswith("_KEY")


def _passwords_in(url: str) -> Iterator[str]:
    """Yield the password of a URL, and a user that may be a token."""
    scheme, mark, rest = url.partition("://")
    userinfo = _split_userinfo(rest)[0] if mark else None
    if userinfo:
        user, colon, password = userinfo.partition(":")
        yield password
        if not (colon or _USER_IS_NO_SECRET.match(scheme.lower())):
            yield user
