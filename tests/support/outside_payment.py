# SPDX-License-Identifier: MPL-2.0
"""An outside payment provider for tests: payment_provider.py as a process of its own, and what it was asked."""

import json
import pathlib
import subprocess
import sys
import urllib.request
import uuid

from patience import stretched, wait_child

PROGRAM = pathlib.Path(__file__).resolve().parent / "payment_provider.py"
TOKEN = "tok_live_0123456789abcdef"


def text(request_id):
    return str(uuid.UUID(bytes=bytes(request_id)))


class Provider:
    def __init__(self, port=0, token=TOKEN):
        command = [sys.executable, str(PROGRAM), "--port", str(port), "--token", token]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=stretched(5)) as answer:
            return json.load(answer)

    def script(self, **lists):
        self.ask("/script", lists)

    def seen(self):
        return self.ask("/seen")

    def calls(self, request_id):
        """(method, word) of each call about it, in order."""
        wanted = text(request_id)
        return [(call["method"], call["did"]) for call in self.seen()["calls"]
                if call["path"].endswith(wanted) or (call["body"] or {}).get("id") == wanted]

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            wait_child(self.process, 10)
