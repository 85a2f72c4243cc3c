"""MLflow is brought up to date once for one content, and again whenever either side has changed."""

from __future__ import annotations

import shutil

import pytest
from rich.console import Console

from tests.tuner.conftest import train_all
from tuner.results.pictures.draw import Pictures
from tuner.search.ledger import Ledger
from tuner.sweep.folder import SweepFolder
from tuner.tracking import sync
from tuner.tracking.server import EXPERIMENT, connect, quiet_mlflow
from tuner.tracking.sync import FILE, is_settled, note_settled

pytestmark = [
    pytest.mark.usefixtures("with_mlflow"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def drawn(monkeypatch):
    """Return the names of the sweeps that were drawn; nothing is."""
    names = []
    monkeypatch.setattr(sync, "draw_sweep", lambda snapshot, *_, **options: names.append(snapshot.name) or Pictures())
    monkeypatch.setattr(sync, "register_champion", lambda *_: None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return names


def delete_a_run(home):
    with quiet_mlflow():
        client = connect(home)
        found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
        client.delete_run(found[0].info.run_id)


def test_it_is_drawn_and_sent_again_only_when_something_has_changed(make_sweep, tmp_path, drawn, monkeypatch):
    sweep = make_sweep(num_trials=2)
    train_all(Ledger(sweep))

    def times_drawn():
        drawn.clear()
        sync.mirror_now(sweep, Console(quiet=True))
        return len(drawn)

    assert [times_drawn(), times_drawn()] == [1, 0]
    assert is_settled(sweep)
    delete_a_run(tmp_path)
    assert [times_drawn(), times_drawn()] == [1, 0]
    sweep = sweep.extended(3)
    train_all(Ledger(sweep))
    assert [times_drawn(), times_drawn()] == [1, 0]
    (sweep.folder / FILE).write_text("{")
    assert [times_drawn(), times_drawn()] == [1, 0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'other.db'}")
    assert [times_drawn(), times_drawn()] == [1, 0]


def test_what_is_settled_does_not_go_along_with_a_copied_home(make_sweep, tmp_path, drawn):
    sweep = make_sweep(num_trials=1)
    train_all(Ledger(sweep))
    sync.mirror_now(sweep, Console(quiet=True))
    shutil.copytree(sweep.folder, tmp_path / "elsewhere" / "tiny")
    assert not is_settled(SweepFolder.open("tiny", home=tmp_path / "elsewhere"))


def test_a_database_that_cannot_be_read_is_not_settled_and_ends_nothing(make_sweep, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    sweep, database = make_sweep(), tmp_path / "mlflow.db"
    database.unlink()
    for damage in (database.mkdir, lambda: (database.rmdir(), database.write_bytes(b"no database" * 100))):
        damage()
        with sweep.lock():
            note_settled(sweep)
            assert not (sweep.folder / FILE).exists()
            assert not is_settled(sweep)


def test_a_complete_sweep_says_so_before_anything_else(run, make_sweep, drawn):
    train_all(Ledger(make_sweep()))
    output = run("resume", "tiny", "--home", ".")[1]
    assert output.startswith("tiny is complete: 4 of 4 trials complete; 2 baselines; `tuner resume tiny --trials N`")
    assert drawn == ["tiny"]
    assert run("resume", "tiny", "--home", ".", "--detach")[0] == 0
