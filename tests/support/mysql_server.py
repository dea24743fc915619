# SPDX-License-Identifier: MPL-2.0
"""A MariaDB server of a test's own, for tests that kill it. (mariadb.sh makes the one that all others share.)"""

import contextlib
import os
import shutil
import socket
import subprocess

from patience import stretched, wait_child, wait_until
from processes import free_port

FOR_EVER_MS = 10 ** 15


class MysqlServer:
    """A MariaDB server that a test may kill and start again on the same data."""

    def __init__(self, folder, name="server", options=("--skip-log-bin",)):
        self.folder, self.port, self.options = os.path.join(folder, name), free_port(), options
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
                                           f"--tmpdir={self.folder}", f"--socket={self.folder}/s", "--bind-address=127.0.0.1", f"--port={self.port}", *self.options,
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

    def sql(self, statement):
        """The rows of its answer, as texts."""
        done = subprocess.run(["mariadb", "--no-defaults", "--batch", "--raw", "--skip-column-names", "-h", "127.0.0.1", "-P", str(self.port),
                               "-u", "root", "-e", statement], capture_output=True, text=True, timeout=stretched(30), check=False)
        assert done.returncode == 0, f"{statement}: {done.stderr}"
        return [line.split("\t") for line in done.stdout.splitlines()]


class SemiSynchronousPair:
    """A primary whose commits wait for its replica for ever, and that replica. Both come back as they were configured: the old primary
    writable, the promoted replica so too."""

    def __init__(self, folder):
        logs = ["--log-bin", "--sync-binlog=1", "--log-slave-updates", "--gtid-strict-mode"]
        self.primary = MysqlServer(folder, "a", [*logs, "--server-id=1", "--rpl-semi-sync-master-enabled=1", f"--rpl-semi-sync-master-timeout={FOR_EVER_MS}",
                                                 "--rpl-semi-sync-master-wait-point=AFTER_SYNC"])
        self.replica = MysqlServer(folder, "b", [*logs, "--server-id=2", "--rpl-semi-sync-slave-enabled=1", "--read-only=1"])
        self.primary.sql("SET sql_log_bin=0; CREATE USER r@'%'; GRANT ALL ON *.* TO r@'%'; FLUSH PRIVILEGES")
        self.replica.sql("SET sql_log_bin=0; DELETE FROM mysql.global_priv WHERE user = ''; FLUSH PRIVILEGES; RESET MASTER; SET GLOBAL gtid_slave_pos='';"
                         f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={self.primary.port}, MASTER_USER='r', MASTER_USE_GTID=slave_pos,"
                         "MASTER_CONNECT_RETRY=1; START SLAVE")
        wait_until(self.is_paired, 30, "the replica confirms")

    def is_paired(self):
        return self.primary.sql("SHOW STATUS LIKE 'Rpl_semi_sync_master_clients'") == [["Rpl_semi_sync_master_clients", "1"]]

    def promote(self):
        """What a cluster manager does when the primary is gone."""
        self.replica.sql("STOP SLAVE IO_THREAD")
        wait_until(lambda: "Slave has read all relay log" in self.replica.sql("SHOW PROCESSLIST").__repr__(), 30, "all that came is applied")
        self.replica.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only=0")
        self.replica.options = [option for option in self.replica.options if not option.startswith("--read-only")]

    def close(self):
        self.primary.kill9()
        self.replica.kill9()


@contextlib.contextmanager
def mysql_server(folder):
    server = MysqlServer(folder)
    try:
        yield server
    finally:
        server.kill9()
