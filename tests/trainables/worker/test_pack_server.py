"""The actor of a pack as a plain object, without Ray: seats, attempts, and what runs come to in it."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import torch

from tests.support.loops import without_seconds
from trainables.storage import checkpoint
from trainables.worker import device
from trainables.worker.context import RunTask
from trainables.worker.fencing import FencedError
from trainables.worker.pack_server import LeftError, PackedRun, PackServer
from trainables.worker.trainable import RunTrainable


@pytest.fixture
def task(settings_of, tmp_path):
    """Return what the driver sends for one run."""

    def build(key="run", trainable="standard", **changes):
        settings = settings_of(trainable, **{"compute": 1.5, **changes})
        return RunTask(key, str(tmp_path / key), settings, pack="pack").to_config()

    return build


@contextlib.contextmanager
def pack_of(seats=3, work=PackedRun):
    server = PackServer(seats, work=work)
    try:
        yield server
    finally:
        server.close()


async def finish(server, config, attempt="first"):
    results = [await server.report(config, attempt)]
    while "metrics" in results[-1] and not results[-1]["finished"]:
        results.append(await server.report(config, attempt))
    return results


def alone(config):
    trainable = RunTrainable({**config, "folder": config["folder"] + "-alone"})
    results = [trainable.step()]
    while "metrics" in results[-1] and not results[-1]["finished"]:
        results.append(trainable.step())
    return results


def metrics_of(results):
    return without_seconds(result["metrics"] for result in results)


def newest(config):
    return checkpoint.load_newest(Path(config["folder"]) / "checkpoint")


def test_runs_of_different_recipes_report_and_save_what_they_do_alone(task):
    configs = [task("a"), task("b", "pgd", seed=2), task("c", "gan", pretrain=0.0), task("d", seed=4)]
    with pack_of(seats=3) as server:

        async def all_of_them():
            return await asyncio.gather(*(finish(server, config) for config in configs))

        together = asyncio.run(all_of_them())
    for config, results in zip(configs, together, strict=True):
        expected = alone(config)
        assert metrics_of(results) == metrics_of(expected)
        saved, theirs = newest(config), newest({**config, "folder": config["folder"] + "-alone"})
        for name, weights in theirs["loop"]["classifier"].items():
            assert torch.equal(saved["loop"]["classifier"][name], weights)
        assert "report" in (Path(config["folder"]) / "log.txt").read_text()


def test_on_a_gpu_reports_have_the_places_of_the_pack(task, monkeypatch):
    monkeypatch.setattr(device, "own_device", lambda gpu: "cpu")
    server = PackServer(16, 1.0)
    (metrics, *_) = [result["metrics"] for result in asyncio.run(finish(server, task()))]
    server.close()
    assert (metrics["gpu_share"], metrics["pack"]) == (1 / 16, 16)


def test_a_run_that_is_asked_again_by_a_new_trial_repeats_its_last_report(task):
    config = task()
    expected = metrics_of(alone(config))
    with pack_of() as server:

        async def ask():
            first = await server.report(config, "first")
            return [first, *await finish(server, config, "second")]

        results = metrics_of(asyncio.run(ask()))
    assert results == [expected[0], *expected]


def test_its_checkpoints_go_into_a_solo_run_and_back(task):
    config = task()
    expected = metrics_of(alone(config))

    def one_report_in_a_pack(attempt, num):
        with pack_of() as server:

            async def ask():
                return [await server.report(config, attempt) for _ in range(num)][-1]

            return asyncio.run(ask())

    ours = [one_report_in_a_pack("first", 1)]
    solo = RunTrainable(config)
    solo.step()  # the one that is known
    ours.append(solo.step())
    ours.append(one_report_in_a_pack("third", 2))
    assert metrics_of(ours) == expected


def test_a_run_waits_for_a_seat_until_another_one_leaves(task):
    with pack_of(seats=1) as server:

        async def ask():
            await server.report(task("first"), "a")
            second = asyncio.ensure_future(server.report(task("second"), "b"))
            await asyncio.sleep(0.2)
            assert not second.done()
            await server.leave("first", "an earlier attempt")
            await asyncio.sleep(0.05)
            assert not second.done()
            await server.leave("first", "a")
            return await second

        assert asyncio.run(ask())["metrics"]["step"] == 1


def test_a_run_of_which_nobody_asks_loses_its_seat_if_its_trial_has_died(task):
    with pack_of(seats=1) as server:

        async def ask():
            await server.report(task("first"), "a")
            second = asyncio.ensure_future(server.report(task("second"), "b"))
            await server.retain(["first", "second"])
            await asyncio.sleep(0.1)
            assert not second.done()
            await server.retain(["second"])
            return await second

        assert asyncio.run(ask())["metrics"]["step"] == 1


def test_with_a_seat_fewer_the_next_run_waits(task):
    with pack_of(seats=2) as server:

        async def ask():
            await server.lose_seat()
            await server.report(task("first"), "a")
            second = asyncio.ensure_future(server.report(task("second"), "b"))
            await asyncio.sleep(0.1)
            is_waiting = not second.done()
            await server.lose_seat()  # the last one stays
            await server.leave("first", "a")
            await second
            return is_waiting

        assert asyncio.run(ask())


def test_a_run_that_is_to_be_alone_waits_until_all_others_have_left_and_they_wait_for_it(task):
    with pack_of(seats=3) as server:

        async def ask():
            await server.report(task("first"), "a")
            alone = asyncio.ensure_future(server.report({**task("alone"), "is_alone": True}, "b"))
            await asyncio.sleep(0.1)
            assert not alone.done()
            await server.leave("first", "a")
            await alone
            third = asyncio.ensure_future(server.report(task("third"), "c"))
            await asyncio.sleep(0.1)
            assert not third.done()
            await server.leave("alone", "b")
            return await third

        assert asyncio.run(ask())["metrics"]["step"] == 1


def test_of_two_attempts_at_a_run_the_later_one_trains(task):
    config = task(compute=3.0, report_every=3.0)
    with pack_of(seats=1) as server:

        async def ask():
            first = asyncio.ensure_future(server.report(config, "first"))
            await asyncio.sleep(0.05)
            second = asyncio.ensure_future(server.report(config, "second"))
            return await asyncio.gather(first, second, return_exceptions=True)

        first, second = asyncio.run(ask())
    assert isinstance(first, LeftError | FencedError)
    assert second["finished"]


def test_an_attempt_that_still_waits_for_a_seat_yields_to_a_later_one(task):
    with pack_of(seats=1) as server:

        async def ask():
            await server.report(task("other"), "a")
            first = asyncio.ensure_future(server.report(task(), "first"))
            await asyncio.sleep(0)
            second = asyncio.ensure_future(server.report(task(), "second"))
            await asyncio.sleep(0.05)
            await server.leave("other", "a")
            return await asyncio.gather(first, second, return_exceptions=True)

        first, second = asyncio.run(ask())
    assert isinstance(first, FencedError)
    assert second["metrics"]["step"] == 1


class Broken(PackedRun):
    def _start(self):
        if self._run.key == "cannot begin":
            raise RuntimeError("no such layer")
        return super()._start()

    def next_report(self):
        loop = super().next_report()
        if self._run.key == "nan":
            with torch.no_grad():
                next(loop.classifier.parameters()).fill_(torch.nan)
        if self._run.key == "no memory":
            loop.train_minibatch = self._take_too_much
        return loop

    def _take_too_much(self):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_what_ends_one_run_is_its_result_and_leaves_its_neighbours_alone(task):
    configs = [task(key) for key in ("cannot begin", "nan", "no memory", "well")]
    with pack_of(seats=4, work=Broken) as server:

        async def all_of_them():
            results = await asyncio.gather(*(finish(server, config) for config in configs))
            return results, await server.at_turn()

        (unborn, diverged, poor, well), at_turn = asyncio.run(all_of_them())
    assert unborn[-1]["failure"] == "error"
    assert "RuntimeError: no such layer" in unborn[-1]["reason"]
    assert diverged[-1]["failure"] == "diverged"
    assert poor[-1]["failure"] == "out of memory"
    assert metrics_of(well) == metrics_of(alone(configs[-1]))
    assert at_turn is None


def test_which_run_computes_is_known_while_it_does_not_end(task):
    class Endless(PackedRun):
        def next_report(self):
            loop = super().next_report()
            if self._run.key == "hangs":
                loop.train_minibatch = goes_on.wait
            return loop

    import threading

    goes_on = threading.Event()
    with pack_of(work=Endless) as server:

        async def ask():
            report = asyncio.ensure_future(server.report(task("hangs", compute=0.5), "a"))
            try:
                while await server.at_turn() is None:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                return await server.at_turn()
            finally:
                leaving = asyncio.ensure_future(server.leave("hangs", "a"))
                goes_on.set()
                await leaving
                await asyncio.gather(report, return_exceptions=True)

        assert asyncio.run(ask()) == "hangs"
