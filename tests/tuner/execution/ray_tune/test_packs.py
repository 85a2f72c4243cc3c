"""Which run trains in which pack, and what becomes of packs that die or have to go; no actor is started."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tuner.execution.ray_tune.packs import Packs


@dataclass
class Actor:
    name: str
    node: str = "a"
    started: bool = True
    died: bool = False
    killed: bool = False
    seats_lost: int = 0
    retained: list = field(default_factory=list)
    computing: str | None = None

    def has_started(self):
        return self.started

    def has_died(self):
        return self.died

    def is_on(self, nodes):
        return self.node in nodes

    def retain(self, keys):
        self.retained.append(list(keys))

    def lose_seat(self):
        self.seats_lost += 1

    def at_turn(self):
        return self.computing

    def kill(self):
        self.killed = True


class Here:
    """Two packs of two seats, and runs that are given to them."""

    def __init__(self, seats: int = 2) -> None:
        self.num, self.fitting, self.leaving, self.running = 2, 99, set(), set()
        self.have_machines = True
        self.actors: list[Actor] = []
        self.now = 0.0
        self.packs = Packs(
            seats,
            self.start,
            lambda: self.num,
            lambda: self.leaving,
            self.running.__contains__,
            lambda: self.now,
            lambda: self.fitting,
        )
        self.look()

    def start(self) -> Actor:
        self.actors.append(Actor(f"pack-{len(self.actors)}", started=self.have_machines))
        return self.actors[-1]

    def look(self) -> None:
        self.now += 2
        self.packs.look()

    def begin(self, *keys: str) -> list[str]:
        self.running.update(keys)
        return [self.packs.assign(key) for key in keys]

    def alive(self) -> list[str]:
        return [actor.name for actor in self.actors if not actor.killed]


@pytest.fixture
def here():
    return Here()


def test_runs_are_spread_over_the_packs_and_a_seat_is_free_when_its_run_has_ended(here):
    assert here.packs.num_seats == 4
    assert here.begin("a", "b", "c", "d") == ["pack-0", "pack-1", "pack-0", "pack-1"]
    here.running.remove("b")
    assert here.begin("e") == ["pack-1"]
    here.look()
    assert [actor.retained[-1] for actor in here.actors] == [["a", "c"], ["d", "e"]]


def test_a_run_that_begins_again_gives_back_its_earlier_seat(here):
    assert here.begin("a", "a", "a", "b", "c", "d")[3:] == ["pack-1", "pack-0", "pack-1"]


def test_packs_that_wait_for_a_machine_come_last(here):
    here.actors[0].started = False
    assert here.begin("a", "b", "c") == ["pack-1", "pack-1", "pack-0"]


def test_a_pack_that_has_died_is_replaced_and_its_runs_are_not_to_blame(here):
    here.begin("a", "b", "c", "d")
    here.actors[0].died = True
    here.look()
    assert here.alive() == ["pack-1", "pack-2"]
    assert [here.packs.lost(key) for key in ("a", "c")] == [False, False]
    assert here.begin("a", "c") == ["pack-2", "pack-2"]


def test_a_trial_may_know_of_the_death_first(here):
    here.begin("a", "b", "c")
    assert here.packs.lost("a") is False
    assert here.alive() == ["pack-1"]
    assert here.packs.lost("c") is False
    here.look()
    assert here.alive() == ["pack-1", "pack-2"]


def test_a_run_whose_packs_die_again_and_again_is_alone_in_the_end_and_to_blame():
    here = Here(seats=4)
    here.num = 1
    here.look()
    for _ in range(2):
        here.running.clear()
        here.begin("killer", "other")
        assert here.packs.num_seats == 4
        assert [here.packs.lost("killer"), here.packs.lost("other")] == [False, False]
        here.look()
    # Now neither gets a neighbour before it has reported.
    here.running.clear()
    here.begin("killer")
    assert here.packs.num_seats == 1
    assert here.packs.lost("killer") is True
    here.look()
    here.running.clear()
    here.begin("other")
    assert here.packs.num_seats == 1
    here.packs.heard_of("other")
    assert here.packs.num_seats == 4


def test_what_a_driver_ends_itself_counts_for_nobody(here):
    here.begin("a")
    here.packs.kill_of("a")
    assert here.packs.lost("a") is False
    here.num = 1
    here.actors[1].died = True
    assert here.begin("b") == ["pack-1"]  # that is not known yet
    here.packs.close()
    assert here.begin("c") == ["pack-2"]  # before anybody has looked
    here.look()
    assert here.packs.num_seats == 2


def test_with_a_smaller_share_the_emptier_pack_lets_its_runs_go(here):
    here.begin("a", "b", "c")
    here.num = 1
    here.look()
    assert here.packs.num_seats == 2
    assert [here.packs.is_leaving(key) for key in "abc"] == [False, True, False]
    assert here.alive() == ["pack-0", "pack-1"]
    here.running.remove("b")
    here.look()
    assert here.alive() == ["pack-0"]
    here.num = 2
    here.look()
    assert here.alive() == ["pack-0", "pack-2"]


def test_a_pack_without_a_machine_ends_at_once(here):
    here.begin("a", "b", "c")
    here.actors[1].started = False
    here.num = 1
    here.look()
    assert here.alive() == ["pack-0"]


def test_a_pack_for_which_the_cluster_has_no_machine_waits_without_runs(here):
    here.num, here.fitting, here.have_machines = 4, 2, False
    here.look()
    assert here.packs.num_seats == 4
    assert sorted(here.begin("a", "b", "c", "d")) == ["pack-0", "pack-0", "pack-1", "pack-1"]
    here.look()
    assert here.alive() == ["pack-0", "pack-1", "pack-2", "pack-3"]
    here.fitting, here.actors[3].started = 3, True
    here.look()
    assert here.packs.num_seats == 6
    assert here.begin("e") == ["pack-3"]


def test_runs_do_not_wait_with_a_pack_if_another_one_got_its_machine():
    here = Here()
    for actor in here.actors:
        actor.started = False
    here.fitting = 1
    here.look()
    assert here.packs.num_seats == 2
    assert here.begin("a", "b") == ["pack-0", "pack-0"]
    here.actors[1].started = True
    here.have_machines = False
    here.look()
    assert here.alive() == ["pack-1", "pack-2"]
    assert [here.packs.lost(key) for key in ("a", "b")] == [False, False]
    assert here.begin("a", "b") == ["pack-1", "pack-1"]
    here.look()
    assert here.packs.num_seats == 2
    assert here.alive() == ["pack-1", "pack-2"]


def test_packs_on_machines_that_go_are_replaced_before_they_end(here):
    here.begin("a", "b")
    here.actors[1].node = "b"
    here.leaving.add("b")
    here.look()
    assert here.packs.is_leaving("b")
    assert here.begin("c", "d", "e")[-1] == "pack-2"
    here.running.remove("b")
    here.look()
    assert here.alive() == ["pack-0", "pack-2"]


def test_memory_that_runs_out_costs_a_seat_unless_the_run_was_alone(here):
    here.begin("a", "b", "c")
    assert not here.packs.lose_seat("b")
    assert here.packs.lose_seat("a")
    assert (here.actors[0].seats_lost, here.packs.num_seats) == (1, 3)
    assert not here.packs.lose_seat("a")  # it has had its last try
    assert here.packs.lose_seat("c")  # it was beside a
    assert (here.actors[0].seats_lost, here.packs.num_seats) == (1, 3)


def test_a_run_that_is_twice_short_of_memory_beside_others_is_alone_from_then_on_and_costs_one_seat():
    here = Here(seats=3)
    here.num = 1
    here.look()
    here.begin("large", "b", "c")
    assert here.packs.lose_seat("large")
    here.running.remove("c")
    here.begin("large")
    assert not here.packs.is_alone("large")
    assert here.packs.lose_seat("large")
    assert here.packs.is_alone("large")
    assert (here.actors[0].seats_lost, here.packs.num_seats) == (1, 2)
    here.begin("large")
    assert here.packs.num_seats == 2  # b and the run that waits for its end: nobody else comes
    assert not here.packs.lose_seat("large")  # it had the whole pack
    here.running -= {"large", "b"}
    assert here.begin("d", "e") == ["pack-0", "pack-0"]


def test_a_run_whose_neighbour_has_just_gone_was_not_alone_when_memory_ran_out(here):
    here.begin("a", "b", "c")
    here.running.remove("a")
    here.look()
    assert here.packs.lose_seat("c")
    assert here.begin("c", "a") == ["pack-0", "pack-1"]
    assert not here.packs.lose_seat("c")
    here.running.remove("a")
    here.look()
    here.packs.heard_of("b")
    assert not here.packs.lose_seat("b")  # it has reported since a was there


def test_of_a_pack_that_hangs_the_run_that_computes_is_to_blame(here):
    here.begin("a", "b", "c")
    here.actors[0].computing = "c"
    assert [here.packs.at_turn(key) for key in ("a", "b", "gone")] == ["c", "b", "gone"]


def test_it_looks_once_a_second_and_ends_all_packs_with_the_driver(here):
    here.actors[0].died = True
    here.packs.look()
    assert here.alive() == ["pack-0", "pack-1"]
    here.packs.close()
    assert here.alive() == []
