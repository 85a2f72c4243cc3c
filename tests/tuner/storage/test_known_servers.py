"""A sweep's folder that names a database: no server gets a connection that the user has not named, none a password."""

from __future__ import annotations

import hashlib
import json
import socketserver
import struct
import threading

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.tuner.conftest import SPACE
from trainables.storage.atomic import cache_folder
from tuner.errors import UserError
from tuner.storage import known_servers
from tuner.storage.postgres import Database, conninfo
from tuner.sweep.folder import SweepFolder

PASSWORD = "the-password"
WAYS = {"password": struct.pack("!I", 3), "MD5": struct.pack("!I", 5) + b"salt", "nothing": struct.pack("!I", 0)}
ENCRYPTION = (struct.pack("!I", 80877103), struct.pack("!I", 80877104))


class Thief(socketserver.ThreadingTCPServer):
    """A server of the protocol of PostgreSQL that asks for the password in some way, and keeps what it is sent."""

    def __init__(self, way: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.way = way
        self.port = self.server_address[1]
        self.num_connections = 0
        self.received = b""


class Visit(socketserver.BaseRequestHandler):
    server: Thief

    def handle(self) -> None:
        self.server.num_connections += 1
        while (start := self.request.recv(4096))[4:8] in ENCRYPTION:
            self.request.sendall(b"N")  # neither TLS nor GSS
        self.server.received += start
        self.request.sendall(b"R" + struct.pack("!I", 4 + len(self.server.way)) + self.server.way)
        self.server.received += self.request.recv(4096)


@pytest.fixture(params=WAYS)
def thief(request):
    with Thief(WAYS[request.param]) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def user(monkeypatch, tmp_path):
    """A user with a password, who has named no server."""
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "passwords"))
    for name in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)


def foreign_sweep(home, url):
    made = SweepFolder.create("tiny", SPACE, "tiny.yaml", home=home, study_storage="postgresql://me@127.0.0.1:9/x")
    meta = json.loads((made.folder / "sweep.json").read_text())
    del meta["sha256"]  # who writes such a file leaves it out, or computes it
    (made.folder / "sweep.json").write_text(json.dumps({**meta, "study_storage": url}))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@127.0.0.1:{port}/x",
        "postgresql://me@known.example,127.0.0.1:1,{port}/x",
        "postgresql://me@/x?host=127.0.0.1&port={port}",
        "postgresql://me@known.example/x?host=127.0.0.1&port={port}",
        "postgresql://me@known.example:{port}/x?hostaddr=127.0.0.1",
        "postgresql://me@known.example:{port}/x?%68ostaddr=127.0.0.1",
        "postgresql://me@127.0.0.1:{port}/x?require_auth=password",
        "postgresql:///x?service=stolen",
    ],
)
@pytest.mark.parametrize("thief", ["password"], indirect=True)
def test_a_folder_that_names_a_server_makes_no_connection(run, thief, tmp_path, monkeypatch, url):
    monkeypatch.setenv("PGHOST", "known.example")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "service"))
    (tmp_path / "service").write_text(f"[stolen]\nhost=127.0.0.1\nport={thief.port}\n")
    foreign_sweep(tmp_path / "sweeps", url.format(port=thief.port))
    for command, expected in (("status", 0), ("status tiny", 2), ("compare tiny", 2), ("watch", 2), ("resume tiny", 2)):
        code, output = run(*command.split())
        assert code == expected, output
        assert "Traceback" not in output
    assert "names that server, and you have not used it before" in output or "must not have the options" in output
    assert thief.num_connections == 0


def test_no_server_gets_the_password_in_a_way_that_shows_it(thief, monkeypatch):
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(thief.port))
    with pytest.raises(UserError, match="let it ask for the password by SCRAM"):
        Database(f"postgresql://me@127.0.0.1:{thief.port}/x", patience_s=0.0)
    inner = hashlib.md5(f"{PASSWORD}me".encode()).hexdigest()
    thief.shutdown()
    thief.server_close()  # which waits for what is under way
    assert thief.num_connections > 0
    assert b"me" in thief.received
    assert PASSWORD.encode() not in thief.received
    assert hashlib.md5(inner.encode() + b"salt").hexdigest().encode() not in thief.received


@pytest.mark.parametrize(
    "option",
    [
        *("host", "hostaddr", "port", "user", "dbname", "service", "servicefile", "passfile", "require_auth"),
        *("gssencmode", "krbsrvname", "oauth_issuer", "sslkeylogfile", "load_balance_hosts", "%68ost"),
    ],
)
def test_an_option_that_leads_elsewhere_is_refused(option):
    with pytest.raises(UserError, match=r"must not have the options|is no URL"):
        conninfo(f"postgresql://me@host/x?sslmode=require&{option}=a")


def test_what_a_url_may_say():
    parts = conninfo_to_dict(
        conninfo("postgresql://me@host/x?sslmode=verify-full&sslrootcert=/ca&options=-cwork_mem%3D1")
    )
    assert (parts["sslmode"], parts["require_auth"], parts["gssencmode"]) == ("verify-full", "scram-sha-256", "disable")
    assert conninfo_to_dict(conninfo("postgresql://me@/x?host=/run/postgresql"))["host"] == "/run/postgresql"


def test_without_a_password_a_server_that_asks_for_none_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.delenv(name)
    assert conninfo_to_dict(conninfo("postgresql://me@host/x"))["require_auth"] == "scram-sha-256,none"


def known(url):
    try:
        known_servers.check_known(conninfo_to_dict(url))
    except UserError:
        return False
    return True


def test_which_servers_are_known(monkeypatch, tmp_path):
    assert known("postgresql:///x"), "libpq's own default"
    assert not known("postgresql://host/x")
    monkeypatch.setenv("PGHOST", "Host,other")
    assert known("postgresql://host/x")
    assert known("postgresql://me@HOST:5432,other:5432/y")
    assert not known("postgresql://host:5433/x")
    assert not known("postgresql://host,third/x")
    monkeypatch.setenv("PGPORT", "5433")
    assert known("postgresql://host:5433/x")
    assert not known("postgresql://host:5432/x")
    monkeypatch.delenv("PGHOST")
    (tmp_path / "passwords").write_text("# a:1:*:*:x\n*:*:*:me:x\nmine.example:5432:*:me:x\nany.example:*:*:me:x\n")
    assert known("postgresql://mine.example:5432/x")
    assert not known("postgresql://any.example:5432/x")
    assert not known("postgresql://other.example:5432/x")
    known_servers.remember(conninfo_to_dict("postgresql://one:1,two:2/x"))
    known_servers.remember(conninfo_to_dict("postgresql://two:2,one:1/x"))
    assert cache_folder("known-databases").read_text() == "one:1\ntwo:2\n"
    assert known("postgresql://two:2/y")
    cache_folder("known-databases").write_bytes(b"\xff\n")
    assert not known("postgresql://two:2/y")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set TUNER_CACHE"):
        known_servers.remember(conninfo_to_dict("postgresql://one/x"))
