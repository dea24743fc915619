# SPDX-License-Identifier: MPL-2.0
"""Deadlines of tests: at least what they say, longer on a slow machine, and never the end of what is there."""

import patience
import pytest


class Machine:
    """A clock that is moved by hand, and a machine that is as slow as it is told to be."""

    def __init__(self, monkeypatch):
        self.now, self.slowness = 1000.0, 1.0
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(patience.time, "sleep", self.pass_by)
        monkeypatch.setattr(patience, "slowness", lambda: self.slowness)
        monkeypatch.setattr(patience, "FACTOR", 1.0)

    def pass_by(self, seconds):
        self.now += seconds

    def lasts(self, deadline_s):
        """How long a wait for something that never comes takes."""
        began = self.now
        with pytest.raises(AssertionError, match="nothing: not within"):
            patience.wait_until(lambda: False, deadline_s, "nothing", pause_s=0.1)
        return self.now - began


@pytest.fixture(name="machine")
def made_machine(monkeypatch):
    return Machine(monkeypatch)


def test_a_wait_on_a_quiet_machine_lasts_as_long_as_it_says(machine):
    assert 10 <= machine.lasts(10) < 10.3


def test_a_wait_lasts_as_many_times_longer_as_was_measured_at_the_start(machine, monkeypatch):
    monkeypatch.setattr(patience, "FACTOR", 3.0)
    assert 30 <= machine.lasts(10) < 30.5
    assert patience.stretched(10) == 30


def test_a_wait_lasts_longer_when_the_machine_has_become_slow_since(machine):
    machine.slowness = 5.0
    assert 45 < machine.lasts(10) < 50.5


def test_a_wait_gets_no_shorter_when_the_machine_is_quicker_than_at_the_start(machine, monkeypatch):
    monkeypatch.setattr(patience, "FACTOR", 3.0)
    machine.slowness = 1.0
    assert machine.lasts(10) >= 30


def test_what_came_while_nobody_looked_has_come_in_time(machine):
    looks = []

    def came():
        machine.pass_by(60)
        looks.append(machine.now)
        return len(looks) == 2
    assert patience.wait_until(came, 10)


def test_the_factor_is_at_least_one_and_can_be_told(monkeypatch):
    for told, factor in (("0.1", 1.0), ("2.5", 2.5), ("1e9", patience.MOST)):
        monkeypatch.setenv("LARDER_TEST_PATIENCE", told)
        assert patience._factor() == factor  # pylint: disable=protected-access
