# SPDX-License-Identifier: MPL-2.0
"""`larder letters`: what it asks the dlq, what it shows, and its exit status, whatever the dlq answers."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
import uuid

import pytest
from fake_dlq import FakeDlq
from patience import Deadline, stretched, wait_child
from processes import DONE, FAILED, LARDER, USAGE, free_base_port, wait_until

FIRST = uuid.UUID("3d931d17-b5c5-8136-aed8-b06a5766b58c")
SECOND = uuid.UUID("01a1fb17-a069-8157-aafd-eb9319d22cae")
REPLAY = uuid.UUID("01a1fb17-a0eb-7417-bf13-ea67418766a2")


def ago(seconds=0):
    return time.time_ns() // 1_000_000 - seconds * 1000


def letter(letter_id=FIRST, number=7, state="dead", **more):
    return {"id": letter_id.bytes, "number": number, "state": state, "kind": "event", "reason": "internal", "error": "the toy is broken",
            "destination": "stock/0", "key": "donut", "attempts": 7, "first": ago(200), "last": ago(190),
            "opened": ago(185), "changed": ago(185), "source": "factory/0", "seq": 12, "type": "factory.produced", **more}


def replay(state="running", **more):
    return {"id": REPLAY.bytes, "number": 1, "state": state, "total": 10, "done": 0, "failed": 0, "started": ago(), **more}


class Letters:
    """The command against a dlq of the test's own."""

    def __init__(self):
        self.base = free_base_port()
        self.dlq = FakeDlq(self.base + 8)

    def env(self, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LARDER")}
        return {**kept, "LARDER_BASE_PORT": str(self.base), "USER": "ada", **more}

    def run(self, *arguments, **env):
        done = subprocess.run([LARDER, "letters", *arguments], env=self.env(**env), capture_output=True, text=True, timeout=stretched(30), check=False)
        return done.returncode, done.stdout, done.stderr

    def start(self, *arguments):
        return subprocess.Popen([LARDER, "letters", *arguments], env=self.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def letters():
    made = Letters()
    yield made
    made.dlq.close()


def test_list_is_aligned_and_shows_whole_ids(letters):
    letters.dlq.handlers["dlq.list"] = lambda _: {
        "letters": [letter(number=9), letter(SECOND, 8, key="a-very-long-key", destination="factory/0")], "has_more": False}
    status, out, _ = letters.run("list")
    lines = out.splitlines()
    assert status == DONE
    assert lines[0].split() == ["ID", "STATE", "AGE", "DESTINATION", "TYPE", "KEY", "TRIES", "REASON", "ERROR"]
    assert lines[1].startswith(f"{FIRST}  dead    3m  stock/0      factory.produced  donut ")
    assert lines[1].index("internal") == lines[2].index("internal") == lines[0].index("REASON")


def test_every_filter_reaches_the_dlq(letters):
    letters.dlq.handlers["dlq.list"] = lambda _: {"letters": [], "has_more": False}
    status, out, _ = letters.run("list", "--state", "dead", "--kind=event", "--destination", "stock/0", "--source", "factory/0", "--type",
                                 "factory.produced", "--reason", "internal", "--key", "donut", "--older-than", "10m", "--younger-than", "2h",
                                 "--min-units", "3", "--min-amount", "500", "--limit", "20", "--before", "99")
    assert (status, out) == (DONE, "no letters\n")
    assert letters.dlq.bodies("dlq.list") == [{
        "state": "dead", "kind": "event", "destination": "stock/0", "source": "factory/0", "type": "factory.produced", "reason": "internal",
        "key": "donut", "older_than_ms": 600_000, "younger_than_ms": 7_200_000, "min_units": 3, "min_amount": 500, "before": 99, "limit": 20}]


def test_a_long_list_is_one_document_of_several_pages(letters):
    def page(body):
        newest = body.get("before", 2501) - 1
        oldest = max(newest - body["limit"] + 1, 1)
        return {"letters": [letter(uuid.UUID(int=n), n) for n in range(newest, oldest - 1, -1)], "has_more": oldest > 1}
    letters.dlq.handlers["dlq.list"] = page
    status, out, _ = letters.run("list", "--limit", "2400", "--json")
    document = json.loads(out)
    assert status == DONE and document["has_more"] is True
    assert [entry["number"] for entry in document["data"]] == list(range(2500, 100, -1))
    assert document["data"][0]["id"] == str(uuid.UUID(int=2500))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", document["data"][0]["opened"])
    status, out, _ = letters.run("list", "--limit", "3000", "--json")
    assert json.loads(out)["has_more"] is False and len(json.loads(out)["data"]) == 2500


def test_no_message_commands_the_terminal(letters):
    letters.dlq.handlers["dlq.list"] = lambda _: {"letters": [letter(error="a\x1b[2Jb\u009bc\nd é")], "has_more": False}
    status, out, _ = letters.run("list")
    assert status == DONE and "\x1b" not in out and "\u009b" not in out
    assert out.splitlines()[1].endswith("a.[2Jb.c.d é")


def test_show_tells_everything(letters):
    letters.dlq.handlers["dlq.show"] = lambda _: {
        "letter": letter(units=10, amount=19900, currency="KRW"),
        "fields": [{"name": "product", "value": "donut"}, {"name": "quantity", "value": "11"}],
        "original": [{"name": "product", "value": "donut"}, {"name": "quantity", "value": "10"}],
        "history": [{"time": ago(200), "error": "first"}, {"time": ago(190), "error": "second"}],
        "audit": [{"time": ago(), "author": "ada", "action": "edit", "reason": "typo", "detail": "quantity: 10 -> 11"}],
        "header": b"\x80", "body": b"\x80"}
    status, out, _ = letters.run("show", str(FIRST))
    assert status == DONE
    for words in ("donut", "10 units", "19900 minor units KRW", "first", "second", "edit by ada: typo (quantity: 10 -> 11)",
                  "message before it was edited", "(3m ago)"):
        assert words in out, words
    status, out, _ = letters.run("show", str(FIRST), "--json")
    assert json.loads(out)["letter"]["id"] == str(FIRST) and json.loads(out)["audit"][0]["author"] == "ada"


def test_an_unknown_letter_is_refused_with_the_dlqs_words(letters):
    letters.dlq.handlers["dlq.show"] = lambda _: ("unknown_letter", {"detail": "there is no letter of that id"})
    assert letters.run("show", str(FIRST)) == (FAILED, "", "larder letters show: there is no letter of that id\n")
    status, out, error = letters.run("show", str(FIRST), "--json")
    assert (status, out, json.loads(error)["type"]) == (FAILED, "", "urn:larder:problem:unknown_letter")


def test_a_filter_that_the_dlq_refuses_is_a_mistake_of_the_command(letters):
    letters.dlq.handlers["dlq.list"] = lambda _: ("invalid_field", {"detail": "letter_filter.state: there is no state \"ded\""})
    status, _, error = letters.run("list", "--state", "ded")
    assert status == USAGE and "there is no state" in error


@pytest.mark.parametrize("arguments, words", [
    (["list", "--older-than", "5x"], "--older-than"),
    (["list", "--key", "k" * 65], "--key"),
    (["list", "--min-units", "many"], "--min-units"),
    (["list", "--colour", "red"], "--colour"),
    (["show"], "missing"),
    (["show", "3d931d17"], "no id"),
    (["discard", str(FIRST)], "--reason"),
    (["edit", str(FIRST), "quantity", "--reason", "x"], "field=value"),
    (["edit", str(FIRST), "--reason", "x"], "missing"),
    (["replay"], "say which"),
    (["replay", "--key", "donut"], "--all"),
    (["replay", "--all", str(FIRST)], "not both"),
    (["replay", "--dry-run", str(FIRST)], "--dry-run"),
    (["replay", "--all", "--canary", "0"], "--canary"),
    (["cancel", "x"], "no id"),
    (["discrad"], "Did you mean `larder letters discard`"),
])
def test_a_mistake_gets_a_sentence_and_nothing_is_asked(letters, arguments, words):
    status, out, error = letters.run(*arguments)
    assert (status, out) == (USAGE, "") and words in error
    assert letters.dlq.asked == []


def test_several_are_discarded_and_what_failed_is_named(letters):
    def discard(body):
        if body["letter"] == SECOND.bytes:
            return "letter_closed", {"detail": "it is done"}
        return letter(uuid.UUID(bytes=body["letter"]), state="discarded")
    letters.dlq.handlers["dlq.discard"] = discard
    status, out, error = letters.run("discard", str(SECOND), str(FIRST), "--reason", "counted by hand")
    assert (status, out, error) == (FAILED, f"{FIRST}  discarded\n", f"{SECOND}  it is done\n")
    assert letters.dlq.bodies("dlq.discard")[0] == {"letter": SECOND.bytes, "author": "ada", "reason": "counted by hand"}
    status, out, _ = letters.run("discard", str(SECOND), str(FIRST), "--reason", "x", "--author", "bob", "--json")
    document = json.loads(out)
    assert status == FAILED and [entry["id"] for entry in document["data"]] == [str(FIRST)]
    assert document["failed"][0]["letter"] == str(SECOND) and document["failed"][0]["problem"]["detail"] == "it is done"
    assert letters.dlq.bodies("dlq.discard")[-1]["author"] == "bob"


def test_restore_needs_no_reason(letters):
    letters.dlq.handlers["dlq.restore"] = lambda _: letter()
    assert letters.run("restore", str(FIRST)) == (DONE, f"{FIRST}  dead\n", "")
    assert letters.dlq.bodies("dlq.restore") == [{"letter": FIRST.bytes, "author": "ada"}]


def test_edit_sends_fields_as_text(letters):
    letters.dlq.handlers["dlq.edit"] = lambda _: {"letter": letter(), "fields": [], "history": [], "audit": []}
    status, _, _ = letters.run("edit", str(FIRST), "quantity=10", "note=a=b", "empty=", "--reason", "typo")
    assert status == DONE
    assert letters.dlq.bodies("dlq.edit")[0]["changes"] == [
        {"name": "quantity", "value": "10"}, {"name": "note", "value": "a=b"}, {"name": "empty", "value": ""}]


def test_replay_of_ids_says_what_became_of_each(letters):
    states = {FIRST.bytes: letter(state="done"), SECOND.bytes: letter(SECOND, error="still broken")}
    letters.dlq.handlers["dlq.replay"] = lambda body: states[body["letter"]]
    status, out, error = letters.run("replay", str(FIRST), str(SECOND), "--because", "mended")
    assert (status, out) == (FAILED, f"{FIRST}  done\n")
    assert error == f"{SECOND}  dead: internal: still broken\n"
    assert letters.dlq.bodies("dlq.replay")[0] == {"letter": FIRST.bytes, "author": "ada", "reason": "mended"}


def test_an_outcome_that_comes_later_is_waited_for(letters):
    shown = []

    def show(_):
        shown.append(1)
        state = "replaying" if len(shown) < 3 else "done"
        return {"letter": letter(state=state), "fields": [], "history": [], "audit": []}
    letters.dlq.handlers["dlq.replay"] = lambda _: letter(state="replaying")
    letters.dlq.handlers["dlq.show"] = show
    assert letters.run("replay", str(FIRST)) == (DONE, f"{FIRST}  done\n", "")
    letters.dlq.handlers["dlq.show"] = lambda _: {"letter": letter(state="replaying"), "fields": [], "history": [], "audit": []}
    status, _, error = letters.run("replay", str(FIRST), "--wait", "300ms")
    assert status == FAILED and "not known yet" in error


def progressing(letters, states):
    answers = iter(states)
    last = [None]

    def status(_):
        last[0] = next(answers, last[0])
        return last[0]
    letters.dlq.handlers["dlq.status"] = status


def test_replay_of_a_selection_is_followed_to_its_end(letters):
    letters.dlq.handlers["dlq.start"] = lambda _: replay("selecting")
    progressing(letters, [replay(done=4), replay("done", done=10, ended=ago())])
    status, out, _ = letters.run("replay", "--all", "--key", "donut", "--rate", "5", "--canary", "2", "--stop-on-failure", "--because", "why")
    assert status == DONE and "10 of 10 done, 0 failed" in out and str(REPLAY) in out
    assert letters.dlq.bodies("dlq.start") == [
        {"filter": {"key": "donut"}, "rate": 5, "canary": 2, "stop_on_failure": True, "author": "ada", "reason": "why"}]


def test_what_failed_in_a_selection_is_told(letters):
    letters.dlq.handlers["dlq.start"] = lambda _: replay()
    letters.dlq.handlers["dlq.list"] = lambda _: {"letters": [letter(replay=REPLAY.bytes), letter(SECOND, 6)], "has_more": False}
    progressing(letters, [replay("stopped", done=9, failed=1, ended=ago(), stopped_by=FIRST.bytes, error="the toy is broken")])
    status, out, error = letters.run("replay", "--all")
    assert status == FAILED and "stopped" in out and "the toy is broken" in out
    assert str(FIRST) in error and str(SECOND) not in error


def test_a_dry_run_starts_nothing(letters):
    letters.dlq.handlers["dlq.start"] = lambda _: replay(
        "dry_run", shares=[{"destination": "stock/0", "reason": "internal", "letters": 10, "units": 100}])
    status, out, _ = letters.run("replay", "--all", "--dry-run")
    assert status == DONE and "10 letters would be replayed" in out and "stock/0" in out
    assert letters.dlq.bodies("dlq.start")[0]["dry_run"] is True and letters.dlq.bodies("dlq.status") == []
    assert json.loads(letters.run("replay", "--all", "--dry-run", "--json")[1])["shares"][0]["units"] == 100


def test_interrupting_leaves_the_replay_running_and_says_how_to_end_it(letters):
    letters.dlq.handlers["dlq.start"] = lambda _: replay()
    letters.dlq.handlers["dlq.status"] = lambda _: replay(done=3)
    child = letters.start("replay", "--all")
    wait_until(lambda: len(letters.dlq.bodies("dlq.status")) >= 2, 10, "it follows")
    child.send_signal(signal.SIGINT)
    out, error = child.communicate(timeout=stretched(10))
    assert child.returncode == FAILED and "3 of 10" in out
    assert f"larder letters cancel {REPLAY}" in error
    assert letters.dlq.bodies("dlq.cancel") == []


def test_detached_it_is_started_and_not_followed(letters):
    letters.dlq.handlers["dlq.start"] = lambda _: replay()
    status, _, error = letters.run("replay", "--all", "--detach")
    assert status == DONE and "larder letters cancel" in error and letters.dlq.bodies("dlq.status") == []


def test_a_terminal_gets_a_bar(letters):
    letters.dlq.handlers["dlq.start"] = lambda _: replay()
    progressing(letters, [replay(done=5), replay("done", done=10, ended=ago())])
    parent, child_end = pty.openpty()
    with subprocess.Popen([LARDER, "letters", "replay", "--all"], env=letters.env(), stdout=child_end, stderr=child_end,
                          stdin=subprocess.DEVNULL) as child:
        os.close(child_end)
        shown = b""
        deadline = Deadline(20)
        while not deadline.has_passed() and select.select([parent], [], [], 1)[0] or child.poll() is None:
            try:
                shown += os.read(parent, 4096)
            except OSError:
                break
        assert wait_child(child, 10) == DONE
    os.close(parent)
    assert b"[###############...............]  50%  5 of 10" in shown
    assert b"] 100%  10 of 10" in shown


def test_watch_prints_the_counts_and_new_letters(letters):
    known = [letter()]
    letters.dlq.handlers["dlq.list"] = lambda _: {"letters": list(known), "has_more": False}
    letters.dlq.handlers["dlq.stats"] = lambda _: {"counts": [], "dead": len(known), "waiting": 2, "oldest_waiting": ago(70),
                                                   "is_full": False}
    child = letters.start("watch", "--json")
    assert json.loads(child.stdout.readline())["stats"]["dead"] == 1
    known.insert(0, letter(SECOND, 8))
    told = json.loads(child.stdout.readline())
    assert told.get("letter", {}).get("id") == str(SECOND)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=stretched(10))
    assert child.returncode == DONE
    status, out, _ = letters.run("watch", "--count", "1")
    assert status == DONE and out == "2 dead, 2 waiting (the oldest 1m)\n"


def test_stats_are_a_table(letters):
    letters.dlq.handlers["dlq.stats"] = lambda _: {
        "counts": [{"state": "dead", "destination": "factory/0", "reason": "call_failed", "letters": 3, "units": 30, "amount": 59700,
                    "currency": "KRW"}, {"state": "waiting", "destination": "stock/0", "reason": "unavailable", "letters": 1, "units": 0}],
        "dead": 3, "waiting": 1, "oldest_dead": ago(3700), "is_full": False}
    status, out, _ = letters.run("stats")
    lines = out.splitlines()
    assert status == DONE and lines[0] == "3 dead (the oldest 1h), 1 waiting"
    assert lines[3].split() == ["dead", "factory/0", "call_failed", "3", "30", "59700", "KRW"]
    assert json.loads(letters.run("stats", "--json")[1])["counts"][1]["reason"] == "unavailable"


def test_replays_are_listed_and_cancelled(letters):
    letters.dlq.handlers["dlq.replays"] = lambda _: {"replays": [replay(author="ada", reason="mended")], "has_more": False}
    letters.dlq.handlers["dlq.status"] = lambda _: replay(done=2)
    letters.dlq.handlers["dlq.cancel"] = lambda _: replay("cancelled", done=2, ended=ago())
    assert "ada" in letters.run("replays")[1]
    assert "2 of 10 done" in letters.run("replays", str(REPLAY))[1]
    assert "cancelled" in letters.run("cancel", str(REPLAY))[1]
    assert letters.dlq.bodies("dlq.cancel") == [{"replay": REPLAY.bytes, "author": "ada"}]


def test_a_silent_dlq_is_told(letters):
    letters.dlq.handlers["dlq.stats"] = lambda _: None
    status, out, error = letters.run("stats", "--timeout-ms", "300")
    assert (status, out) == (FAILED, "") and "the dlq does not answer" in error
