"""The study in PostgreSQL: a ledger like any other, one writer at a time, and a server that goes and comes back."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psycopg
import pytest
from optuna.study import Study
from rich.console import Console

from tests.support.cutting import Cutting
from tests.support.postgres import USER, PostgresServer
from tests.tuner.conftest import SPACE, row, train, train_all
from tests.tuner.search.test_ledger import PRUNED_SPACE
from trainables.storage.atomic import is_storage_trouble
from tuner.errors import UserError
from tuner.execution.failures import FailurePolicy
from tuner.execution.launch import LaunchOptions, new_sweep
from tuner.execution.upkeep.copying import copy_sweep
from tuner.results.follower import Follower
from tuner.search.ledger import Ledger
from tuner.storage import postgres as database
from tuner.storage import postgres_lock
from tuner.storage.postgres import Database, StudyError
from tuner.storage.postgres_journal import DatabaseReader
from tuner.storage.postgres_lock import StudyLock
from tuner.sweep.folder import SweepFolder
from tuner.sweep.reader import read_records
from tuner.sweep.snapshot import read_snapshot
from tuner.tracking.web.study_pages import ShownStudies

pytestmark = pytest.mark.database
TABLE = "CREATE TABLE tuner_journal (sweep text, line bigint, content text, PRIMARY KEY (sweep, line))"


@pytest.fixture
def sweep(postgres: PostgresServer, tmp_path: Path) -> SweepFolder:
    return make(tmp_path, postgres.database())


def make(home: Path, url: str | None, name: str = "tiny") -> SweepFolder:
    return SweepFolder.create(name, SPACE.replace(*PRUNED_SPACE), "tiny.yaml", home=home, study_storage=url)


def lines(sweep: SweepFolder) -> list[dict]:
    return list(DatabaseReader(sweep.study_storage, sweep.id).read_logs(0))


def states(sweep: SweepFolder) -> dict[str, str]:
    return {record.run.key: record.state for record in read_records(sweep)}


def lock_study(sweep: SweepFolder) -> AbstractContextManager[StudyLock]:
    """Take the sweep's lock in the database alone, as a driver does whose folder locks nothing here."""
    return closing(StudyLock(sweep.study_storage, sweep.id))


def restart(server: PostgresServer, after_s: float = 1.5) -> threading.Thread:
    """Crash the server, and let it come back in a while."""
    server.crash()
    thread = threading.Thread(target=lambda: (time.sleep(after_s), server.start()))
    thread.start()
    return thread


def test_it_holds_what_a_file_does(sweep, tmp_path):
    in_file = make(tmp_path, None, "file")
    for one in (in_file, sweep):
        with one.lock() as lock:
            ledger = Ledger(one, lock)
            for run in iter(ledger.next_run, None):
                train(ledger, run, robust=0.9 - 0.1 * run.number)
            assert Ledger(one, lock).is_complete
    assert not sweep.journal.exists()
    plain = [(one.run.key, one.state, one.value, one.run.settings, one.metrics) for one in read_records(sweep)]
    assert [(one.run.key, one.state, one.value, one.run.settings) for one in read_records(in_file)] == [
        one[:4] for one in plain
    ]
    assert {one[1] for one in plain} == {"complete", "pruned"}
    assert read_snapshot(sweep).state == "completed"
    again = SweepFolder.open("tiny", home=tmp_path)
    assert again.study_storage == sweep.study_storage
    assert read_records(again) == read_records(sweep)


def test_the_dashboard_shows_it_with_names_and_does_not_write(sweep):
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        for run in iter(ledger.next_run, None):
            train(ledger, run, robust=0.9 - 0.1 * run.number)
            if run.key == "trial-0001":
                studies = ShownStudies(sweep)
    before = lines(sweep)
    studies.refresh()
    search = studies.storage.get_study_id_from_name("search")
    assert studies.path == f"/dashboard/studies/{search}"
    assert Study("search", studies.storage).metric_names == ["robust"]
    assert studies.storage.get_best_trial(search).number == 0
    assert len(studies.storage.get_all_trials(search, deepcopy=False)) == 4
    with pytest.raises(PermissionError):
        studies.storage.delete_study(search)
    assert lines(sweep) == before


def test_it_can_be_read_while_it_is_written_and_only_what_is_new_is(sweep, monkeypatch):
    read = []
    page = DatabaseReader._page
    monkeypatch.setattr(DatabaseReader, "_page", lambda self, start: read.append(page(self, start)) or read[-1])
    follower = Follower(sweep)
    assert follower.records == {}
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        while (run := ledger.next_run()) is not None:
            read.clear()
            follower.refresh()
            assert sum(map(len, read)) < 40
            assert follower.records[run.key].state == "running"
            ledger.complete(run.key, row(3))
        follower.refresh()
    assert {key: record.state for key, record in follower.records.items()} == states(sweep)
    assert set(states(sweep).values()) == {"complete"}


def _hold(home: Path, ready, done) -> None:
    with SweepFolder.open("tiny", home=home).lock():
        ready.set()
        done.wait(60)


def test_a_driver_on_another_host_is_refused_by_name(sweep, tmp_path):
    """Two folders that lock nothing of each other's, as on two hosts, and one study."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(60)
    assert sweep.is_running()
    with (
        pytest.raises(UserError, match=f"run by process {other.pid} on "),
        lock_study(sweep),
    ):
        pass
    other.kill()
    other.join(30)
    deadline = time.monotonic() + 60
    while sweep.is_running():  # until the server has noticed that the connection is closed
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with sweep.lock():
        assert sweep.is_running()
    assert not sweep.is_running()


def test_a_restart_of_the_server_loses_nothing_and_doubles_nothing(sweep, postgres, caplog):
    trained = []
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        while (run := ledger.next_run()) is not None:
            trained.append(run.key)
            ledger.report(run.key, row(1))
            back = restart(postgres, after_s=0.5) if len(trained) in (1, 4) else None
            ledger.report(run.key, row(2))
            ledger.complete(run.key, row(3, 0.9))
            if back:
                back.join()
                assert sweep.is_running(), "the lock was taken again before anything was written"
    assert trained == sorted(set(trained), key=trained.index)
    assert states(sweep) == dict.fromkeys(trained, "complete")
    assert len(trained) == sweep.num_runs
    warnings = [
        one for one in caplog.records if one.levelno == logging.WARNING and one.name == "tuner.storage.postgres"
    ]
    assert 2 <= len(warnings) <= 4, "one for each outage, from the driver and from who reads"
    assert all("out of reach, tried again" in one.getMessage() for one in warnings)


def test_an_idle_driver_takes_its_lock_again_before_anybody_else_can(sweep, postgres, monkeypatch):
    monkeypatch.setattr(postgres_lock, "_LOCK_WAIT_S", 0.5)
    with sweep.lock() as lock:
        monkeypatch.setattr(postgres_lock, "_RESTARTED_S", 60.0)
        postgres.crash()
        postgres.start()
        with (
            pytest.raises(UserError, match="is being run by process"),
            lock_study(sweep),
        ):
            pass
        assert train_all(Ledger(sweep, lock))


def test_an_answer_that_is_lost_leaves_every_line_once(postgres, tmp_path, monkeypatch):
    url = postgres.database()
    host, _, port = url.partition("127.0.0.1:")[2].partition("/")
    way = Cutting(int(host))
    sweep = make(tmp_path, url.replace(f":{host}/", f":{way.port}/"))
    monkeypatch.setenv("PGPORT", str(way.port))
    trained = []
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        sync = ledger._journal.sync

        def losing_sync() -> None:
            if ledger._journal._pending:
                way.lose_next_answer()
            sync()
            assert way.has_lost

        ledger._journal.sync = losing_sync
        trained = train_all(ledger)
    numbers = postgres.execute("SELECT line FROM tuner_journal WHERE line >= 0 ORDER BY line", port)
    assert [number for (number,) in numbers] == list(range(len(numbers)))
    assert len(states(sweep)) == len(trained) == sweep.num_runs
    way.close()


def test_who_was_cut_off_and_replaced_writes_nothing_any_more(sweep, postgres, monkeypatch):
    monkeypatch.setattr(postgres_lock, "_LOCK_WAIT_S", 0.5)
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        first = ledger.next_run()
        assert Ledger(sweep, lock).next_run().key == first.key
        with pytest.raises(StudyError, match="another driver has written"):
            ledger.complete(first.key, row(3))
    before = lines(sweep)
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        run = ledger.next_run()
        with lock._guard:  # its connection is cut, and another takes the lock
            postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'tuner'")
            other = psycopg.connect(lock._conninfo, autocommit=True, application_name="tuner 7@elsewhere 0")
            while not other.execute("SELECT pg_try_advisory_lock(%s, %s)", lock._key).fetchone()[0]:
                time.sleep(0.05)
        with pytest.raises(StudyError, match="process 7 on elsewhere has taken over the sweep") as refused:
            ledger.complete(run.key, row(3))
        assert is_storage_trouble(refused.value)
        other.close()
    assert lines(sweep)[: len(before)] == before
    assert states(sweep)[run.key] == "running"


def test_a_server_that_stays_away_ends_the_sweep_which_goes_on_later(sweep, postgres, monkeypatch):
    monkeypatch.setattr(postgres_lock, "WRITER_PATIENCE_S", 1.0)
    policy = FailurePolicy(None)
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        run = ledger.next_run()
        postgres.crash()
        with pytest.raises(StudyError) as refused:
            ledger.complete(run.key, row(3, 0.1))  # what it reports again below
        policy.storage_failed(refused.value)
        assert "out of reach" in str(policy.fatal)
        began = time.monotonic()
        with pytest.raises(StudyError):
            ledger.give_up(str(policy.fatal))
        assert time.monotonic() - began < 30, "whoever has given up does not wait again"
    postgres.start()
    with sweep.lock() as lock:
        assert train_all(Ledger(sweep, lock))[0] == run.key
    assert len(states(sweep)) == sweep.num_runs


def test_a_server_that_is_down_is_refused_in_words(sweep, postgres, tmp_path):
    postgres.crash()
    with pytest.raises(UserError, match=r"database postgresql\+psycopg://tuner@127.0.0.1:\d+/\w+ cannot be used: "):
        Database(sweep.study_storage, patience_s=60)
    with pytest.raises(UserError, match="cannot be used"), sweep.lock():
        pass


def test_four_who_make_the_table_at_once(postgres):
    for _ in range(5):
        url = postgres.database()
        four = [Database(url, patience_s=0.0) for _ in range(4)]
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda one, start=start: (start.wait(30), one.run(database.ensure_table)), four))
        for one in four:
            assert one.run(lambda connection: connection.execute("SELECT * FROM tuner_journal").fetchall()) == []
            one.close()


def test_a_user_who_may_make_no_table_is_told_so(postgres):
    url = postgres.database()
    postgres.execute(f"ALTER DATABASE {url.rpartition('/')[2]} OWNER TO admin")
    with pytest.raises(UserError, match="permission denied"):
        database.check(url)


def test_a_wrong_password_is_refused(postgres, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(UserError, match="password authentication failed"):
        database.check(postgres.database())


def test_a_password_file_does_as_well(postgres, monkeypatch, tmp_path):
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "passwords").write_text(f"127.0.0.1:*:*:tuner:{postgres.password}\n")
    (tmp_path / "passwords").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "passwords"))
    database.check(postgres.database())


def test_the_server_proves_itself_where_one_asks_for_it(postgres, tmp_path):
    url = f"{postgres.database()}?sslmode=verify-full&sslrootcert="
    connection = Database(f"{url}{postgres.certificate}", patience_s=0.0)
    kind = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert connection.run(lambda one: one.execute(kind).fetchone())[0].startswith("TLSv1.")
    connection.close()
    with pytest.raises(UserError, match=r"cannot be used: .*(certificate|root)"):
        Database(f"{url}{tmp_path / 'none'}", patience_s=0.0)
    with pytest.raises(UserError, match="cannot be used"):
        Database(f"{url}{postgres.certificate}".replace("127.0.0.1", "localhost"), patience_s=0.0)


def test_a_copy_has_rows_of_its_own(sweep, tmp_path, monkeypatch):
    with sweep.lock() as lock:
        train_all(Ledger(sweep, lock))
    before = lines(sweep)
    copy = copy_sweep(sweep, "new")
    assert states(copy) == states(sweep)
    assert len(lines(copy)) == len(before)
    again = SweepFolder.open("new", home=tmp_path)
    with again.lock() as lock:
        assert len(train_all(Ledger(again.extended(6), lock))) == 2
    assert lines(sweep) == before

    shutil.copytree(sweep.folder, tmp_path / "copied")
    copied = SweepFolder.open("copied", home=tmp_path)
    with pytest.raises(UserError, match="hold the same sweep"), copied.lock():
        pass
    with pytest.raises(UserError, match="hold the same sweep"):  # its study is that of the original
        copy_sweep(copied, "another")

    def fail(*arguments: object, **others: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainables.storage.sweep_store.SweepStore._upload_folder", fail)
    reader = database.reader(sweep.study_storage)
    count = "SELECT count(DISTINCT sweep) FROM tuner_journal"
    num_before = reader.run(lambda connection: connection.execute(count).fetchone())
    with pytest.raises(UserError, match="nothing was made"):
        copy_sweep(sweep, "another")
    assert reader.run(lambda connection: connection.execute(count).fetchone()) == num_before
    assert not (tmp_path / "another").exists()


def test_missing_lines_are_noticed_at_both_ends_and_between(sweep, postgres):
    with sweep.lock() as lock:
        train_all(Ledger(sweep, lock))
    name = sweep.study_storage.rpartition("/")[2]
    num_lines = len(lines(sweep))
    postgres.execute("CREATE TABLE kept AS SELECT * FROM tuner_journal", name)
    for condition, words in (
        ("line = 0", "line 1 is missing"),
        ("line = 7", "line 8 is missing"),
        (f"line = {num_lines - 1}", f"it has {num_lines - 1} lines instead of {num_lines}"),
        (f"line > 5 AND line < {num_lines}", f"it has 6 lines instead of {num_lines}"),
    ):
        postgres.execute(f"DELETE FROM tuner_journal WHERE {condition}", name)
        with pytest.raises(UserError, match=f"in postgresql.* is damaged .{words}"):
            read_records(sweep)
        with sweep.lock() as lock, pytest.raises(UserError, match=words):
            Ledger(sweep, lock)
        postgres.execute("DELETE FROM tuner_journal", name)
        postgres.execute("INSERT INTO tuner_journal SELECT * FROM kept", name)
    postgres.execute("UPDATE tuner_journal SET content = replace(content, '0', '1') WHERE line = 9", name)
    with pytest.raises(UserError, match="the checksum of line 10 does not match"):
        read_records(sweep)
    for statement in ("DELETE FROM tuner_journal", "DROP TABLE tuner_journal"):
        postgres.execute(statement, name)
        assert any("holds a run that the study in" in problem for problem in read_snapshot(sweep).problems)
        with sweep.lock() as lock, pytest.raises(UserError, match="has no study of 'tiny', whose folder holds runs"):
            Ledger(sweep, lock)


def test_a_table_that_goes_or_is_closed_in_mid_sweep_ends_the_driver_in_words(sweep, postgres):
    name = sweep.study_storage.rpartition("/")[2]
    with sweep.lock() as lock:
        ledger = Ledger(sweep, lock)
        run = ledger.next_run()
        for statement, undo in (
            ("ALTER TABLE tuner_journal RENAME TO gone", "ALTER TABLE gone RENAME TO tuner_journal"),
            ("ALTER TABLE tuner_journal OWNER TO admin", f"ALTER TABLE tuner_journal OWNER TO {USER}"),
        ):
            postgres.execute(statement, name)
            with pytest.raises(StudyError, match=r"cannot be written: .*tuner_journal"):
                ledger.give_up(statement)
            postgres.execute(undo, name)
        postgres.execute("DELETE FROM tuner_journal WHERE line > 3", name)
        with pytest.raises(StudyError, match="or its last lines were removed"):
            ledger.complete(run.key, row(3))


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["CREATE TABLE tuner_journal (id int)"], "of another shape .id integer."),
        (["CREATE TABLE tuner_journal (sweep text, line bigint, content bytea)"], "of another shape"),
        (["CREATE TABLE tuner_journal (sweep text, line bigint, content text)"], "of another shape"),
        (["CREATE VIEW tuner_journal AS SELECT ''::text AS sweep, 0::bigint AS line, ''::text AS content"], "shape"),
        ([TABLE], "has no right to SELECT, INSERT, UPDATE in the table .* GRANT SELECT, INSERT, UPDATE ON"),
        ([TABLE, f"GRANT SELECT ON tuner_journal TO {USER}"], "has no right to INSERT, UPDATE"),
        ([f"ALTER ROLE {USER} SET default_transaction_read_only = on"], "is read-only: name the primary server"),
        (["ALTER DATABASE {name} OWNER TO admin"], "permission denied for schema public"),
    ],
)
def test_what_keeps_a_study_from_being_written_is_said_before_anything_is_made(postgres, tmp_path, statements, words):
    url, console = postgres.database(), Console(quiet=True)
    name = url.rpartition("/")[2]
    (tmp_path / "tiny.yaml").write_text(SPACE)
    made = make(tmp_path / "sweeps", url)
    for statement in statements:
        postgres.execute(statement.format(name=name), name)
    try:
        with pytest.raises(UserError, match=words):
            new_sweep(tmp_path / "tiny.yaml", made.store, console, LaunchOptions(name="new", study_storage=url))
        assert [path.name for path in (tmp_path / "sweeps").iterdir()] == ["tiny"]
        with pytest.raises(UserError, match=words), made.lock():
            pass
        with contextlib.suppress(UserError):
            read_snapshot(made)
    finally:
        postgres.execute(f"ALTER ROLE {USER} RESET default_transaction_read_only")
