# SPDX-License-Identifier: MPL-2.0
"""Clients without a database: the samples, killed and robbed of the dlq and of the source, and what PROTOCOL.md says of dlq.subscribe."""

import os
import pathlib
import subprocess
import sys

import pytest

from larder_client import Client, Refused, uuid7, unpack

from patience import wait_child
from processes import LARDER, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLES = {
    "python": [sys.executable, str(ROOT / "samples" / "subscribe.py")],
    "c": [os.path.join(os.path.dirname(LARDER), "samples", "subscribe")],
}
SOURCE = "stock/0"
CREDIT = 3
REPLACED = 3


class Sample:
    """A sample that follows the source under one name, as often as it is started; what it has printed, run by run."""

    def __init__(self, shop, language, name, folder):
        self.command = [*SAMPLES[language], shop.endpoint("dlq"), SOURCE, name]
        self.language, self.path, self.runs, self.child = language, os.path.join(folder, f"{name}.out"), [], None

    def options(self, count):
        if self.language == "c":
            return [str(CREDIT)] + ([str(count)] if count else [])
        return ["--from-start", "--credit", str(CREDIT)] + (["--count", str(count)] if count else [])

    def start(self, count=None):
        self.runs.append(f"{self.path}.{len(self.runs)}")
        with open(self.runs[-1], "wb") as output, open(f"{self.runs[-1]}.err", "wb") as errors:
            self.child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *self.command, *self.options(count)],
                                          stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        return self

    def seqs(self, run=-1):
        """What a run has processed. The last line may be cut by a kill."""
        with open(self.runs[run], encoding="utf-8") as file:
            return [int(line.split()[0]) for line in file if line.endswith("\n")]

    def errors(self):
        with open(f"{self.runs[-1]}.err", encoding="utf-8") as file:
            return file.read()

    def wait_for(self, seq):
        def has_it():
            assert self.child.poll() is None or self.seqs()[-1:] == [seq], f"it ended: {self.child.poll()} {self.errors()}"
            return seq in self.seqs()
        wait_until(has_it, 20, f"event {seq}")

    def kill9(self):
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
        wait_child(self.child, 5)

    def check(self, last):
        """Each event at least once and in order; of those that were processed before a kill only the ones that could not be
        acknowledged any more come again."""
        done = 0
        for run in range(len(self.runs)):
            seqs = self.seqs(run)
            if not seqs:
                continue
            assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), f"run {run}: not in order: {seqs}"
            assert seqs[0] <= done + 1, f"run {run} begins at {seqs[0]}, what came before ended at {done}"
            assert seqs[0] > done - CREDIT - 1, f"run {run} begins at {seqs[0]} though {done} was processed: acknowledged ones again"
            done = max(done, seqs[-1])
        assert done == last


class Stock:
    """The source: one event per sale that empties a shelf."""

    def __init__(self, shop):
        self.client, self.count = Client(shop.endpoint("stock")), 0

    def emit(self, count):
        for _ in range(count):
            self.count += 1
            product = f"p{self.count}"
            self.client.get("stock.adjust", {"product": product, "delta": 1})
            self.client.get("stock.take", {"lines": [{"product": product, "quantity": 1}]})
        return self.head()

    def head(self):
        return self.client.get("any.ping")["seq"]


@pytest.fixture
def started(new_shop, database):
    """A stock and a dlq, each a process of its own; nobody else."""
    shop = new_shop(database, behind_ms=1000)
    shop.dlq = shop.actor("dlq")
    shop.stock = shop.actor("stock")
    return shop


@pytest.fixture
def make_sample(started, tmp_path):
    made = []

    def make(language, name):
        made.append(Sample(started, language, name, str(tmp_path)))
        return made[-1]
    yield make
    for sample in made:
        sample.kill9()


@pytest.mark.parametrize("language", sorted(SAMPLES))
def test_a_sample_misses_nothing_whoever_is_killed(started, make_sample, language):
    stock = Stock(started)
    sample = make_sample(language, "till-7").start()
    sample.wait_for(stock.emit(15))
    stock.emit(20)
    sample.kill9()
    stock.emit(10)
    sample.start()
    wait_until(sample.seqs, 20, "an event after the kill")
    started.dlq.kill9()
    head = stock.emit(10)
    started.dlq.start()
    sample.wait_for(head)
    sample.kill9()
    head = stock.emit(10)
    dlq = Client(started.endpoint("dlq"))
    wait_until(lambda: kept(started) == head, 20, "the dlq has copied everything")
    started.stock.kill9()
    sample.start()
    sample.wait_for(head)
    sample.kill9()
    started.dlq.kill9()
    started.dlq.start()
    started.stock.start()
    head = stock.emit(5)
    sample.start(count=head - acknowledged(started))
    assert wait_child(sample.child, 20) == 0, sample.errors()
    sample.check(head)
    assert dlq.get("dlq.subscribe", {"name": "till-7", "source": SOURCE})["position"] == head
    dlq.close()


def kept(shop):
    return shop.sql("SELECT COALESCE(MAX(seq), 0) FROM $kept", "dlq")[0][0]


def acknowledged(shop):
    """A sample acknowledges with its next question: killed before it, it is sent what it has printed last once more."""
    return shop.sql("SELECT position FROM $hosting WHERE subscriber = 'dlq.till-7'", "dlq")[0][0]


@pytest.mark.parametrize("language", sorted(SAMPLES))
def test_of_two_processes_with_one_name_the_newest_goes_on(started, make_sample, language):
    stock = Stock(started)
    first = make_sample(language, "till-7").start()
    first.wait_for(stock.emit(2))
    second = make_sample(language, "till-7")
    second.path += "-second"
    second.start()
    assert wait_child(first.child, 10) == REPLACED, first.errors()
    assert "session_replaced" in first.errors()
    head = stock.emit(3)
    second.wait_for(head)
    assert first.seqs()[-1] == 2
    assert second.seqs()[0] in (1, 2, 3)


def test_no_more_comes_than_was_asked_for(started):
    stock = Stock(started)
    head = stock.emit(12)
    dlq = Client(started.endpoint("dlq"))
    session = dlq.get("dlq.subscribe", {"name": "till-1", "source": SOURCE, "from_start": True})
    here = {"name": "till-1", "source": SOURCE, "session": session["session"]}
    position, seen = 0, []
    while position < head:
        page = dlq.get("dlq.receive", {**here, "position": position, "credit": 5}, attempt_ms=5000)
        seqs = [unpack(event["header"])["seq"] for event in page["events"]]
        assert 1 <= len(seqs) <= 5
        seen += seqs
        position = seqs[-1]
    assert seen == list(range(1, head + 1))
    assert dlq.get("dlq.receive", {**here, "position": position, "credit": 0})["events"] == []
    dlq.get("dlq.unsubscribe", {"name": "till-1", "source": SOURCE})
    with pytest.raises(Refused) as refusal:
        dlq.get("dlq.receive", {**here, "position": position, "credit": 0})
    assert refusal.value.status == "unknown_subscriber"
    dlq.close()


def test_what_cannot_be_is_refused_and_changes_nothing(started):
    stock = Stock(started)
    stock.emit(3)
    dlq = Client(started.endpoint("dlq"))
    session = dlq.get("dlq.subscribe", {"name": "till-1", "source": SOURCE, "from_start": True})
    here = {"name": "till-1", "source": SOURCE, "session": session["session"], "position": 0, "credit": 1}
    dlq.get("dlq.receive", here, attempt_ms=5000)
    wrong = [
        ("dlq.receive", {**here, "position": 3}, "invalid_field", "3 was never sent"),
        ("dlq.receive", {**here, "credit": 257}, "invalid_field", "dlq_receive.credit"),
        ("dlq.receive", {**here, "session": uuid7()}, "session_replaced", "this session is over"),
        ("dlq.receive", {**here, "name": "till-2"}, "unknown_subscriber", "till-2"),
        ("dlq.subscribe", {"name": "no blanks", "source": SOURCE}, "invalid_field", "dlq_subscribe.name"),
        ("dlq.subscribe", {"name": "x" * 49, "source": SOURCE}, "invalid_field", "dlq_subscribe.name"),
        ("dlq.subscribe", {"name": "till-1", "source": "stock"}, "invalid_field", "there is no source stock"),
        ("dlq.unsubscribe", {"name": "till-2", "source": SOURCE}, "unknown_subscriber", "till-2"),
    ]
    for op, body, status, words in wrong:
        with pytest.raises(Refused) as refusal:
            dlq.get(op, body)
        assert refusal.value.status == status and words in refusal.value.detail, (op, refusal.value)
    assert started.sql("SELECT position FROM $hosting", "dlq")[0][0] == 0
    dlq.close()
