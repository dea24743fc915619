# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   What `larder verify` sees: a single change of every column of every table of every actor's database, one after the other, in a
          closed shop in which something of everything has happened. Everything that it does not see stands in `unseen.txt`, with the
          reason why that is right, and everything that stands there is not seen.

CASES     Of each table a row of each kind that KINDS tells apart (of the first kinds, unless LARDER_LONG=1), and of that each column: +1
          and -1 (of the last character of a text), NULL, the value of another row (on MariaDB, where a proof takes long, +1 and NULL alone,
          unless LARDER_LONG=1); then the row is deleted. What the engine itself refuses is no case. Changes and proofs are done beside
          one another on copies of the databases. One list for both engines: they keep the same and are proved by the same statements.
"""

import concurrent.futures
import contextlib
import fnmatch
import os
import shutil
import subprocess

import pytest
from engines import MysqlTables, SqliteTables, copy_of
from full_shop import SHARDS, FullShop
from processes import DONE, FAILED, LARDER, Sqlite

UNSEEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unseen.txt")
PROGRAM = os.path.join(os.path.dirname(LARDER), "verify_often")
WORKERS = 2
IS_LONG = os.environ.get("LARDER_LONG") == "1"
KINDS_IF_SHORT = {"sqlite": 2, "mysql": 1}
CHANGES_IF_SHORT = {"sqlite": ("+1", "-1", "NULL", "other"), "mysql": ("+1", "NULL")}

# Columns of which each combination is a kind of row; a table without an entry has one kind.
KINDS = {
    "order": ("status", "saga"), "hold": ("state",), "move": ("kind",), "charge": ("status", "method"), "due": ("owner",),
    "letter": ("state", "kind"), "production": ("status", "state"), "parked": ("state",), "refund": ("status",), "webhook": ("outcome",),
    "position": ("subscriber",), "cursor": ("source",), "replay": ("state",), "tally": ("state",), "entry": ("what",), "answer": ("status",),
    "request": ("status",),
}


class Place:
    """A copy of the shop's databases, and a program that proves them as often as it is asked."""

    def __init__(self, folder, tables, settings):
        os.makedirs(folder, exist_ok=True)
        self.words = os.path.join(folder, "words")
        env = {name: value for name, value in os.environ.items() if not name.startswith("LARDER")}
        self.program = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**env, **settings, "LARDER_STOCK_SHARDS": str(SHARDS),
                                             "LARDER_STUCK_MS": "3600000"})  # some orders wait for the end of the test
        self.ended = []  # proofs that ended in no way they may
        self.tables = tables

    def close(self):
        self.program.stdin.close()
        self.program.wait()
        self.program.stdout.close()
        self.tables.close()

    def verify(self):
        """(exit status, what was said)"""
        self.program.stdin.write(f"{self.words}\n")
        self.program.stdin.flush()
        status = int(self.program.stdout.readline())
        with open(self.words, encoding="utf-8", errors="replace") as file:
            return status, file.read()


class Table:
    def __init__(self, place, part, name):
        self.name, self.tables, self.at = name, place.tables, (part, name)
        self.columns, self.keys = self.tables.columns(*self.at)

    def rows(self):
        return self.tables.rows(*self.at)

    def kinds(self):
        """{kind: its first row}"""
        found = {}
        by = [self.columns.index(column) for column in KINDS.get(self.name, ()) if column in self.columns]
        for row in self.rows():
            found.setdefault(",".join(str(row[index]) for index in by), row)
        return found if IS_LONG else dict(list(found.items())[:KINDS_IF_SHORT[self.tables.engine]])

    def _where(self, row):
        return " AND ".join(f"`{key}` = ?" for key in self.keys), [row[self.columns.index(key)] for key in self.keys]

    def delete(self, row):
        where, values = self._where(row)
        assert self.tables.change(*self.at, f"DELETE FROM $ WHERE {where}", values) == 1

    def update(self, row, column, value):
        """The row as it is then; None: the engine refuses it."""
        where, values = self._where(row)
        count = self.tables.change(*self.at, f"UPDATE $ SET `{column}` = ? WHERE {where}", [value, *values])
        if count is None:
            return None
        assert count == 1
        changed = list(row)
        changed[self.columns.index(column)] = value
        return tuple(changed)

    def insert(self, row):
        assert self.tables.change(*self.at, f"INSERT INTO $ VALUES ({', '.join('?' * len(row))})", row) == 1


def shifted(value, by):
    """A number, or the last character of a text or of bytes; None: there is no such value."""
    if isinstance(value, int):
        return value + by
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) + by) if value else "1" if by > 0 else None
    if isinstance(value, bytes):
        return value[:-1] + bytes([(value[-1] + by) % 256]) if value else b"1" if by > 0 else None
    return None


def changes(table, row, column):
    """{name of the change: value}"""
    index = table.columns.index(column)
    value = row[index]
    others = [other[index] for other in table.rows() if other[index] != value]
    found = {"+1": shifted(value, 1), "-1": shifted(value, -1)}
    found = {name: changed for name, changed in found.items() if changed is not None}
    if value is not None:
        found["NULL"] = None
    if others:
        found["other"] = others[0]
    return {name: found[name] for name in found if IS_LONG or name in CHANGES_IF_SHORT[table.tables.engine]}


def judge(place, case, table, row, undo_of):
    """Whether the damage was seen; it is undone."""
    status, words = place.verify()
    if undo_of is not None:
        table.delete(undo_of)
    table.insert(row)
    if status not in (DONE, FAILED):
        place.ended.append(f"{case}: exit {status}\n{words}")
    return status != DONE


def damage(place, part, name):
    """{case: whether it was seen} of one table."""
    table, found = Table(place, part, name), {}
    for kind, row in table.kinds().items():
        where = f"{part}.{name}{f'[{kind}]' if kind else ''}"
        for column in table.columns:
            for change, value in changes(table, row, column).items():
                changed = table.update(row, column, value)
                if changed is not None:
                    case = f"{where}.{column} {change}"
                    found[case] = judge(place, case, table, row, changed)
        table.delete(row)
        found[f"{where} deleted"] = judge(place, f"{where} deleted", table, row, None)
    return found


def tables(place):
    """The second shard of stock has the same tables as the first."""
    return [(part, name) for part, name in place.tables.names() if IS_LONG or part != "stock_1"]


def is_expected(case, patterns):
    return any(fnmatch.fnmatchcase(case, pattern) for pattern in patterns)


def unseen_patterns(is_sure=None):
    """Those that begin with `?` are seen or not, as it happens."""
    with open(UNSEEN, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    split = [line.split("  ", 1) for line in lines]
    assert all(len(parts) == 2 and parts[1].strip() for parts in split), "a line without a reason"
    return [pattern.removeprefix("? ").replace("[", "[[]") for pattern, _ in split if is_sure is None or pattern.startswith("? ") != is_sure]


def sqlite_copy(folder, original):
    shutil.copytree(original.folder, os.path.join(folder, "var"))
    return Place(folder, SqliteTables(os.path.join(folder, "var")), {"LARDER_DATA": os.path.join(folder, "var")})


def mysql_copy(folder, original):
    other = copy_of(original, f"{original.database}_{os.path.basename(folder)}")
    return Place(folder, MysqlTables(other), other.settings)


@pytest.fixture(name="places")
def copies_of_a_full_shop(folder, database):
    full = FullShop(folder, database)
    with contextlib.ExitStack() as open_places:
        open_places.callback(full.shop.close)
        places = []
        for number in range(WORKERS):
            make = sqlite_copy if isinstance(database, Sqlite) else mysql_copy
            places.append(make(os.path.join(folder, f"copy{number}"), database))
            open_places.callback(places[-1].close)
        yield places


def test_every_single_change_is_seen_or_stands_in_the_list_of_what_is_not(places):
    patterns = unseen_patterns()
    for place in places:
        status, words = place.verify()
        assert status == DONE, words
    free, found = list(places), {}

    def work(part_and_name):
        place = free.pop()
        try:
            return damage(place, *part_and_name)
        finally:
            free.append(place)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for part in pool.map(work, tables(places[0])):
            found.update(part)
    for place in places:
        status, words = place.verify()
        assert status == DONE, f"something was not undone\n{words}"
    ended = [words for place in places for words in place.ended]
    assert not ended, "\n".join(ended)
    unseen = sorted(case for case, is_seen in found.items() if not is_seen)
    print(f"{len(found)} changes, {len(unseen)} of them are not seen")
    wrongly = [case for case in unseen if not is_expected(case, patterns)]
    needlessly = sorted(case for case, is_seen in found.items() if is_seen and is_expected(case, unseen_patterns(is_sure=True)))
    assert not wrongly, f"{len(wrongly)} of {len(found)} changes are not seen:\n" + "\n".join(wrongly)
    assert not needlessly, "these are seen, and the list says that they are not:\n" + "\n".join(needlessly)
