# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   The tables of a shop that is closed, on either engine, row by row: what a test reads, changes, deletes and puts back. `part` is
          actor and shard: stock_0.

LIMITS    The MariaDB side is one client that is told statements and answers in hexadecimal, so that nothing in a value can be taken
          for the end of one. What it refuses it says by its count of rows alone.
"""

import glob
import os
import re
import sqlite3
import subprocess

from processes import wait_child


class SqliteTables:
    """All files of one folder."""
    engine = "sqlite"

    def __init__(self, folder):
        self.databases = {}
        for path in sorted(glob.glob(f"{folder}/*_*.db")):
            database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA synchronous = OFF")
            self.databases[os.path.basename(path)[:-3]] = database

    def close(self):
        for database in self.databases.values():
            database.close()

    def names(self):
        """[(part, table)]"""
        return [(part, name) for part, database in self.databases.items()
                for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]

    def columns(self, part, table):
        """(columns, those of the primary key in their order)"""
        info = self.databases[part].execute(f"PRAGMA table_info(`{table}`)").fetchall()
        return [column[1] for column in info], [column[1] for column in sorted(info, key=lambda column: column[5]) if column[5]]

    def rows(self, part, table):
        order = ", ".join(f"`{key}`" for key in self.columns(part, table)[1])
        return self.databases[part].execute(f"SELECT * FROM `{table}` ORDER BY {order}").fetchall()

    def change(self, part, table, change, values):
        """How many rows were changed by a statement in which `$` is the table; None: it is refused."""
        try:
            return self.databases[part].execute(change.replace("$", f"`{table}`"), values).rowcount
        except (sqlite3.IntegrityError, OverflowError):
            return None


NUMBERS = {"tinyint", "smallint", "int", "bigint"}
BYTES = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"}


class MysqlTables:
    """All tables of one database, through one client."""
    engine = "mysql"

    def __init__(self, database):
        self.database, self.known, self.sorted = database, {}, {}
        self.client = subprocess.Popen(database.client("--force", "--unbuffered"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True)
        self._tell("SET unique_checks = 1, SESSION sql_mode = 'STRICT_ALL_TABLES'")
        for table, column, kind in self._ask("SELECT table_name, column_name, data_type FROM information_schema.columns WHERE"
                                             " table_schema = DATABASE() ORDER BY table_name, ordinal_position"):
            self.known.setdefault(self._split(table), []).append((column, kind))
        for table, column in self._ask("SELECT table_name, column_name FROM information_schema.statistics WHERE table_schema ="
                                       " DATABASE() AND index_name = 'PRIMARY' ORDER BY table_name, seq_in_index"):
            self.sorted.setdefault(self._split(table), []).append(column)
        self.known.pop(None, None)

    def close(self):
        self.client.stdin.close()
        wait_child(self.client, 10)
        self.client.stdout.close()

    @staticmethod
    def _split(table):
        found = re.fullmatch(r"([a-z]+_\d+)_(\w+)", table)
        return found.groups() if found else None

    def _tell(self, statement):
        self.client.stdin.write(f"{statement};\n")
        self.client.stdin.flush()

    def _ask(self, statement):
        self._tell(f"{statement}; SELECT 'that is all'")
        found = []
        while (line := self.client.stdout.readline().rstrip("\n")) != "that is all":
            assert self.client.poll() is None, f"{statement}: the client has ended"
            found.append(tuple(line.split("\t")))
        return found

    def names(self):
        return sorted(self.known)

    def columns(self, part, table):
        return [column for column, _ in self.known[part, table]], self.sorted[part, table]

    def rows(self, part, table):
        kinds = [kind for _, kind in self.known[part, table]]
        wanted = ", ".join(f"`{column}`" if kind in NUMBERS else f"HEX(`{column}`)" if kind in BYTES else
                           f"HEX(CONVERT(`{column}` USING utf8mb4))" for column, kind in self.known[part, table])
        order = ", ".join(f"`{key}`" for key in self.sorted[part, table])
        return [tuple(None if text == "NULL" else int(text) if kind in NUMBERS else bytes.fromhex(text) if kind in BYTES else
                      bytes.fromhex(text).decode() for text, kind in zip(row, kinds))
                for row in self._ask(f"SELECT {wanted} FROM `{part}_{table}` ORDER BY {order}")]

    @staticmethod
    def _literal(value):
        if value is None:
            return "NULL"
        if isinstance(value, int):
            return str(value)
        return f"X'{value.hex()}'" if isinstance(value, bytes) else f"CONVERT(X'{value.encode().hex()}' USING utf8mb4)"

    def change(self, part, table, change, values):
        literals = iter(values)
        statement = re.sub(r"[$?]", lambda found: f"`{part}_{table}`" if found.group() == "$" else self._literal(next(literals)), change)
        self._tell(statement)
        count = int(self._ask("SELECT ROW_COUNT()")[0][0])
        return None if count < 0 else count


def copy_of(database, name):
    """Another MariaDB database beside this one, with the same tables and rows."""
    other = type(database)(database.url.replace(database.database, name))
    for (table,) in database.run("SHOW TABLES"):
        other.run(f"CREATE TABLE `{table}` LIKE `{database.database}`.`{table}`; INSERT INTO `{table}` SELECT * FROM `{database.database}`.`{table}`")
    return other
