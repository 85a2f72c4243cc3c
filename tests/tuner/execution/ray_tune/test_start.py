"""What starts Ray lasts as long as the process, whatever thread has asked for it."""

from __future__ import annotations

import threading

import pytest

from tuner.execution.ray_tune.start import _in_lasting_thread


def in_thread(call) -> list[BaseException]:
    """Call something in a thread, wait for the thread's end, and return what it raised."""
    errors = []

    def work():
        try:
            call()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return errors


def test_the_main_thread_lasts():
    threads = []
    _in_lasting_thread(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.main_thread()]


def test_another_thread_leaves_it_to_one_that_lasts():
    threads = []
    assert in_thread(lambda: _in_lasting_thread(lambda: threads.append(threading.current_thread()))) == []
    assert threads[0].is_alive()
    assert threads[0].daemon


def test_what_it_raises_is_raised_where_it_was_asked_for():
    def fail():
        raise ValueError("no Ray")

    (error,) = in_thread(lambda: _in_lasting_thread(fail))
    assert isinstance(error, ValueError)
    with pytest.raises(ValueError, match="no Ray"):
        _in_lasting_thread(fail)
