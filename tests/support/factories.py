# SPDX-License-Identifier: MPL-2.0
"""An outside factory for tests: outside_factory.py as a process of its own."""

import json
import pathlib
import subprocess
import sys
import urllib.request

from patience import stretched, wait_child

PROGRAM = pathlib.Path(__file__).resolve().parent / "outside_factory.py"


class Factory:
    def __init__(self, port=0, **mode):
        options = [text for name, value in mode.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        self.process = subprocess.Popen([sys.executable, str(PROGRAM), "--port", str(port), *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data), timeout=stretched(30)) as answer:
            return json.load(answer)

    def mode(self, **mode):
        self.ask("/mode", mode)

    def counts(self):
        return self.ask("/counts")

    def accepted(self):
        return self.counts()["accepted"]

    def seen(self):
        return self.ask("/seen")["requests"]

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            wait_child(self.process, 10)
