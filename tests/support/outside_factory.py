#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""A small outside factory for tests: real HTTP, in a process of its own.

    outside_factory.py [--port 0] [--delay-ms 0] [--fail N] [--slow-ms MS] [--callbacks 0|1|2] [--status S] [--at-once N] [--poison P] [--cert FILE]

Prints `port N` when it listens. `POST /api/manufactures` is answered `201 {"data":{"id":...}}`, and after the delay the same body is
posted to its CallbackUrl. The first --fail requests are answered 500 instead, and nothing is produced for them; every answer is
held back for --slow-ms; --callbacks 0 never calls back, 2 does so twice. --status is what every request is answered instead, with
Retry-After when it is 429 or 503; of product --poison every request is answered 500; of more than --at-once at a time the others wait. A request whose Idempotency-Key was accepted before is the
same production: it is answered with the same id, and called back again.

`GET /seen` tells what happened: {"requests": [{"path", "headers", "body", "status"}], "callbacks": [{"url", "status", "body"}]}; `GET /counts` the same in short:
{"statuses": {"201": N}, "accepted": N, "most": N}, with the most that were under way at once. `POST /mode` with {"fail", "slow_ms", "delay_ms",
"callbacks", "status", "at_once", "poison"} changes the mode. Ends by SIGTERM, or when standard input ends.
"""

import argparse
import collections
import json
import ssl
import sys
import threading
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patience import stretched


class Factory:
    def __init__(self, options):
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.mode = {key: getattr(options, key) for key in ("fail", "slow_ms", "delay_ms", "callbacks", "status", "at_once", "poison")}
        self.places = threading.Condition(self.lock)
        self.busy = self.under_way = self.most = 0
        self.requests = []
        self.callbacks = []
        self.accepted = {}

    def take(self, path, headers, body):
        """Decides about a request: (status, answer)."""
        key = headers.get("Idempotency-Key")
        with self.lock:
            if self.mode["status"]:
                status, answer = self.mode["status"], {"error": "in this mode"}
            elif body["MessageAttributeProductId"] == self.mode["poison"]:
                status, answer = 500, {"error": "this one breaks the oven"}
            elif self.mode["fail"] > 0:
                self.mode["fail"] -= 1
                status, answer = 500, {"error": "out of flour"}
            else:
                self.accepted.setdefault(key, str(uuid.uuid4()))
                status, answer = 201, {"data": {"id": self.accepted[key]}}
                for _ in range(self.mode["callbacks"]):
                    timer = threading.Timer(self.mode["delay_ms"] / 1000, self.call_back, (body,))
                    timer.daemon = True
                    timer.start()
            self.requests.append({"path": path, "headers": headers, "body": body, "status": status})
        return status, answer

    def work(self):
        """What a request takes; it waits for a place first when there are places."""
        with self.places:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.places.wait_for(lambda: not self.mode["at_once"] or self.busy < self.mode["at_once"])
            self.busy += 1
        self.ended.wait(self.mode["slow_ms"] / 1000)
        with self.places:
            self.busy -= 1
            self.under_way -= 1
            self.places.notify()

    def counts(self):
        statuses = collections.Counter(str(request["status"]) for request in self.requests)
        return {"statuses": statuses, "accepted": len(self.accepted), "most": self.most}

    def call_back(self, body):
        url = body["CallbackUrl"]
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=stretched(10)) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        except OSError as error:
            status, text = 0, str(error)
        with self.lock:
            self.callbacks.append({"url": url, "status": status, "body": text})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    factory = None

    def log_message(self, format, *args):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status in (429, 503):
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            self.close_connection = True  # the caller has left

    def read_body(self):
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def do_GET(self):
        if self.path == "/counts":
            with self.factory.lock:
                return self.answer(200, self.factory.counts())
        if self.path != "/seen":
            return self.answer(404, {"error": "only /seen"})
        with self.factory.lock:
            return self.answer(200, {"requests": self.factory.requests, "callbacks": self.factory.callbacks})

    def do_POST(self):
        try:
            body = self.read_body()
        except ValueError:
            return self.answer(400, {"error": "no JSON"})
        if self.path == "/mode":
            with self.factory.lock:
                self.factory.mode.update({key: type(self.factory.mode[key])(value) for key, value in body.items() if key in self.factory.mode})
            return self.answer(200, self.factory.mode)
        if self.path != "/api/manufactures":
            return self.answer(404, {"error": "only /api/manufactures"})
        if not isinstance(body, dict) or not all(isinstance(value, str) for value in body.values()) or "CallbackUrl" not in body:
            return self.answer(400, {"error": "all fields are strings, CallbackUrl is one"})
        status, answer = self.factory.take(self.path, dict(self.headers), body)
        self.factory.work()
        return self.answer(status, answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--fail", type=int, default=0)
    parser.add_argument("--slow-ms", type=int, default=0)
    parser.add_argument("--callbacks", type=int, default=1)
    parser.add_argument("--status", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=0)
    parser.add_argument("--poison", default="")
    parser.add_argument("--cert", default="")  # a certificate and its key: it speaks TLS
    options = parser.parse_args()
    Handler.factory = Factory(options)
    ThreadingHTTPServer.request_queue_size = 256
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.daemon_threads = True
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("port", server.server_address[1], flush=True)
    sys.stdin.read()
    Handler.factory.ended.set()
    server.shutdown()


if __name__ == "__main__":
    main()
