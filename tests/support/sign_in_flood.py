#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   A flood of sign-ins, as a program of its own: threads that sign in one time after the other, each on a connection of its own,
          until standard input ends. Prints `ready` when the first of them was refused, and at the end what they were answered: {"statuses": {"401": n, ...}, "without_retry_after": n,
          "refused_ms": the median of the 503s, "late_ms": the slowest answer, "looked_at": passwords of theirs that were compared from
          `ready` to the end}.

USAGE     sign_in_flood.py HOST:PORT THREADS ACCOUNTS ADDRESSES
          ACCOUNTS   an e-mail address for all of them, `many`: one for each thread, `new`: another one each time
          ADDRESSES  how many of 127.0.1.1, 127.0.1.2, ... they come from; 0: 127.0.0.1
"""

import collections
import http.client
import json
import os
import statistics
import sys
import threading
import time
import uuid

from patience import stretched


def name_account(accounts, number):
    if accounts == "new":
        return f"{uuid.uuid4().hex}@example.com"
    return f"nobody-{number}@example.com" if accounts == "many" else accounts


def flood(target, number, accounts, source, told):
    statuses, refused, late, bare, looked_at = collections.Counter(), [], 0.0, 0, 0
    host, port = target.rsplit(":", 1)
    connection = None
    while not told["is_over"].is_set():
        body = json.dumps({"email": name_account(accounts, number), "password": "wrong"})
        began = time.monotonic()
        try:
            connection = connection or http.client.HTTPConnection(host, int(port), timeout=stretched(30), source_address=(source, 0))
            connection.request("POST", "/v1/sessions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            statuses["0"] += 1
            connection = None
            continue
        took = (time.monotonic() - began) * 1000
        statuses[str(answer.status)] += 1
        late = max(late, took)
        looked_at += answer.status == 401 and told["is_refused"].is_set() and not told["is_over"].is_set()
        if answer.status == 503:
            told["is_refused"].set()
            refused.append(took)
            bare += answer.headers["Retry-After"] is None
            time.sleep(0.01)  # an attacker on this machine that asks again at once would take the processor from the rest of it
    with told["lock"]:
        told["statuses"].update(statuses)
        told["refused"] += refused
        told["late"], told["bare"], told["looked_at"] = max(told["late"], late), told["bare"] + bare, told["looked_at"] + looked_at


def main(target, threads, accounts, addresses):
    os.nice(19)
    told = {"is_over": threading.Event(), "is_refused": threading.Event(), "lock": threading.Lock(), "statuses": collections.Counter(), "refused": [], "late": 0.0, "bare": 0,
            "looked_at": 0}
    sources = [f"127.0.1.{number % int(addresses) + 1}" if int(addresses) else "127.0.0.1" for number in range(int(threads))]
    running = [threading.Thread(target=flood, args=(target, number, accounts, source, told)) for number, source in enumerate(sources)]
    for thread in running:
        thread.start()
    told["is_refused"].wait()
    print("ready", flush=True)
    sys.stdin.read()
    told["is_over"].set()
    for thread in running:
        thread.join()
    print(json.dumps({"statuses": told["statuses"], "without_retry_after": told["bare"], "late_ms": told["late"],
                      "looked_at": told["looked_at"], "refused_ms": statistics.median(told["refused"]) if told["refused"] else 0}))


if __name__ == "__main__":
    main(*sys.argv[1:])
