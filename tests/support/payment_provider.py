#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""A small outside payment provider for tests: real HTTP, in a process of its own.

    payment_provider.py [--port 0] [--token TEXT]

Prints `port N` when it listens. What it does with the next calls is a list of words, set by `POST /script` with {"charges": [...],
"refunds": [...], "ask": [...]}; each call takes the next word of its list, the last word stays:

    approve   taken, succeeded                      refuse     taken, failed with a reason
    pending   taken, pending                        deny       422: not taken, and a definite no
    error     500, and not taken                    lose       taken as succeeded, and the connection is closed without a word
    drop      not taken, closed without a word      hang       taken as succeeded, and answered when nobody listens any more
    garbage   taken as succeeded, 200 with a body that is no JSON       busy   429, and not taken
    twice     taken as succeeded, with two answers on one connection
    forbidden, nowhere, moved   403, 404, 302, and not taken
    answer    (ask only) what is so: 404 or the status                  deaf   (ask only) closed without a word
    cannot    (ask only) 501                                           terse  (ask only) what is so, without amounts
    less, foreign   taken and succeeded, but over 1 less than was asked for, or in another currency

Answers say `amount`, `currency` and, of a charge, `refunded`: what it knows of it, refunds made here by hand among them. `POST /refund` with {"charge",
"amount", "reference"?} is somebody at this provider who pays back by hand: nothing is told, the answer is the refund's reference.
Something that was taken before under the same Idempotency-Key is answered as what it is and not taken again. `POST /settle` with
{"id", "status"} changes what is so. `GET /seen` tells {"calls": [{"method", "path", "headers", "body", "did"}], "taken": {id: {...}},
"doubles": N}: doubles are those taken twice in spite of their key. Ends by SIGTERM, or when standard input ends.
"""

import argparse
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patience import stretched

HANG_S = stretched(3)  # longer than anybody waits for the answer


class Provider:
    def __init__(self, token):
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.token = token
        self.script = {"charges": ["approve"], "refunds": ["approve"], "ask": ["answer"]}
        self.calls = []
        self.taken = {}
        self.doubles = 0
        self.by_hand = []

    def next_word(self, what):
        words = self.script[what]
        return words.pop(0) if len(words) > 1 else words[0]

    def refunded(self, charge):
        """How much of a charge was paid back, by whomever."""
        own = sum(entry["amount"] for entry in self.taken.values()
                  if entry["kind"] == "refunds" and entry["body"]["charge"] == charge and entry["status"] == "succeeded")
        return own + sum(amount for of, amount in self.by_hand if of == charge)

    def take(self, kind, key, body, status):
        if key in self.taken:
            return self.taken[key]
        if any(known["body"].get("id") == body.get("id") and known["kind"] == kind for known in self.taken.values()):
            self.doubles += 1
        entry = {"kind": kind, "body": body, "status": status, "reference": f"ref-{len(self.taken) + 1}", "amount": body.get("amount")}
        if kind == "charges":
            entry["currency"] = body.get("currency")
        if status == "failed":
            entry["reason"] = "card declined"
        self.taken[key] = entry
        return entry


def shown(entry):
    return {name: entry[name] for name in ("status", "reference", "reason", "amount", "currency") if name in entry}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider = None

    def log_message(self, format, *args):
        pass

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the caller has left

    def hang_up(self):
        self.close_connection = True

    def note(self, body, did):
        self.provider.calls.append(
            {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body, "did": did}
        )

    def do_GET(self):
        provider = self.provider
        if self.path == "/seen":
            with provider.lock:
                return self.answer(200, {"calls": provider.calls, "taken": provider.taken, "doubles": provider.doubles})
        parts = self.path.strip("/").split("/")
        with provider.lock:
            word = provider.next_word("ask")
            self.note(None, word)
            entry = provider.taken.get(parts[-1])
            entry = dict(entry) if entry else None
            refunded = provider.refunded(parts[-1])
        if word == "cannot":
            return self.answer(501, {"error": "this provider cannot be asked"})
        if word == "error":
            return self.answer(500, {"error": "out of order"})
        if word == "deaf":
            return self.hang_up()
        if word == "garbage":
            return self.answer(200, b"<html>")
        if entry is None or entry["kind"] != parts[0]:
            return self.answer(404, {"error": "no such thing"})
        if word == "terse":
            return self.answer(200, {"status": entry["status"]})
        more = {"refunded": refunded} if entry["kind"] == "charges" else {}
        return self.answer(200, {**shown(entry), **more})

    def do_POST(self):
        provider = self.provider
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(raw)
        if self.path == "/script":
            with provider.lock:
                provider.script.update({name: list(words) for name, words in body.items()})
            return self.answer(200, {})
        if self.path == "/settle":
            with provider.lock:
                provider.taken[body["id"]]["status"] = body["status"]
            return self.answer(200, {})
        if self.path == "/refund":
            with provider.lock:
                provider.by_hand.append((body["charge"], body["amount"]))
                return self.answer(200, {"reference": f"hand-{len(provider.by_hand)}"})
        kind = self.path.strip("/")
        if kind not in ("charges", "refunds"):
            return self.answer(404, {"error": "only /charges and /refunds"})
        return self.create(kind, body)

    def create(self, kind, body):
        provider = self.provider
        statuses = {"approve": "succeeded", "refuse": "failed", "pending": "pending", "lose": "succeeded", "hang": "succeeded",
                    "garbage": "succeeded", "twice": "succeeded", "less": "succeeded", "foreign": "succeeded"}
        refusals = {"forbidden": 403, "nowhere": 404, "moved": 302}
        if provider.token and self.headers.get("Authorization") != f"Bearer {provider.token}":
            return self.answer(401, {"error": f"not {self.headers.get('Authorization')}"})
        with provider.lock:
            word = provider.next_word(kind)
            self.note(body, word)
            taken = provider.take(kind, self.headers["Idempotency-Key"], body, statuses[word]) if word in statuses else None
            if word == "less":
                taken["amount"] = body["amount"] - 1
            elif word == "foreign":
                taken["currency"] = "EUR"
            entry = dict(taken) if taken else None
        if word == "deny":
            return self.answer(422, {"reason": "this card is not taken"})
        if word == "error":
            return self.answer(500, {"error": "out of order"})
        if word == "busy":
            return self.answer(429, {"error": "too many"})
        if word in refusals:
            return self.answer(refusals[word], {"error": word})
        if word in ("lose", "drop"):
            return self.hang_up()
        if word == "hang":
            provider.ended.wait(HANG_S)
        if word == "garbage":
            return self.answer(200, b'{"status":')
        self.answer(201, shown(entry))
        if word == "twice":
            self.answer(201, shown(entry))
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="")
    options = parser.parse_args()
    Handler.provider = Provider(options.token)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("port", server.server_address[1], flush=True)
    sys.stdin.read()
    Handler.provider.ended.set()
    server.shutdown()


if __name__ == "__main__":
    main()
