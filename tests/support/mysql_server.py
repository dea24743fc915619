# SPDX-License-Identifier: MPL-2.0
"""A MariaDB server of a test's own, for tests that kill it. (mariadb.sh makes the one that all others share.)"""

import contextlib
import os
import shutil
import socket
import subprocess

from patience import wait_child, wait_until
from processes import free_port


class MysqlServer:
    """A MariaDB server that a test may kill and start again on the same data."""

    def __init__(self, folder):
        self.folder, self.port = os.path.join(folder, "server"), free_port()
        self.data = os.path.join(self.folder, "data")
        self.as_root = [] if os.getuid() else ["--user=root"]
        os.makedirs(self.folder)
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={self.data}", f"--tmpdir={self.folder}", "--skip-test-db",
                        "--auth-root-authentication-method=normal", *self.as_root], check=True, capture_output=True)
        self.child = None
        self.start()

    def start(self):
        program = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", program, "--no-defaults", f"--datadir={self.data}",
                                           f"--tmpdir={self.folder}", f"--socket={self.folder}/s", "--bind-address=127.0.0.1", f"--port={self.port}", "--skip-log-bin",
                                           "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=1", *self.as_root],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.accepts, 30, "the server accepts connections")

    def accepts(self):
        assert self.child.poll() is None, "the database server ended at start"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                return bool(probe.recv(1))
        except OSError:
            return False

    def kill9(self):
        self.child.kill()
        wait_child(self.child, 10)


@contextlib.contextmanager
def mysql_server(folder):
    server = MysqlServer(folder)
    try:
        yield server
    finally:
        server.kill9()
