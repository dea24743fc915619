# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   What becomes of a byte that an SQLite file has lost: SQLite keeps no sums of its pages. FLIPS bytes, chosen by a seed over all
          files of a closed shop in which something of everything has happened, are changed one after the other. `larder verify` sees each;
          or what the tables say is what it was before (room that is free, the head's counters); or what has changed is a value that stands
          in `unseen.txt`, with the reason why nothing else could tell; or the text of a table's definition, in a name or a rule that
          verify does not need: these are counted apart.

CASES     A third lie anywhere, a third where something is written, a third in the head of a file or of a page. LARDER_LONG=1 has ten times
          as many; LARDER_SEED chooses others.
"""

import contextlib
import glob
import os
import random
import shutil
import sqlite3

import pytest
from engines import SqliteTables
from full_shop import FullShop
from processes import DONE
from test_damage import IS_LONG, KINDS, Place, is_expected, unseen_patterns

FLIPS = 1500 if IS_LONG else 150
PAGE = 4096
# Where a row of a kind that `unseen.txt` does not tell apart is not seen.
OF_SOME_ROWS = {"order_0.line.product": "an order that was given up, or is under way, is not compared with what was held for it",
                "order_0.line.quantity": "the same, where the price is nothing",
                "stock_0.move[configure].answer": "what a configuration said before the last one is kept nowhere else",
                "stock_1.move[configure].answer": "the same"}
SEED = int(os.environ.get("LARDER_SEED", "20261128"))


def contents(path):
    """{table: (columns, rows)}; None: SQLite itself cannot read it."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            database.text_factory = bytes
            found = {}
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
                cursor = database.execute(f"SELECT * FROM `{name.decode()}` NOT INDEXED")
                found[name.decode()] = tuple(column[0] for column in cursor.description), cursor.fetchall()
            return found
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def definitions(path):
    """(all but the texts, the texts) of what is said of tables and indexes."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        rows = database.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master").fetchall()
        return [row[:-1] for row in rows], [row[-1] for row in rows]


def as_text(value):
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def cells(part, before, after):
    """The cells that differ as cases of the lists; None: more than cells does."""
    if after is None or before.keys() != after.keys():
        return None
    found = []
    for name, (columns, rows) in before.items():
        if after[name][0] != columns or len(after[name][1]) != len(rows):
            return None
        for row, other in zip(rows, after[name][1]):
            kind = ",".join(as_text(row[columns.index(column)]) for column in KINDS.get(name, ()) if column in columns)
            found += [f"{part}.{name}{f'[{kind}]' if kind else ''}.{column}" for column, old, new in zip(columns, row, other)
                      if (type(old), old) != (type(new), new)]
    return found


def is_excused(case, patterns):
    return case in OF_SOME_ROWS or any(is_expected(f"{case} {change}", patterns) for change in ("+1", "-1", "other", "NULL"))


def places_of_flips(rng, files):
    """(path, offset, what the byte is changed by)"""
    for number in range(FLIPS):
        path = rng.choice(files)
        with open(path, "rb") as file:
            data = file.read()
        offset = rng.randrange(len(data))
        if number % 3 == 0:
            offset = rng.randrange(100) if number % 2 else offset // PAGE * PAGE + rng.randrange(40)
        while number % 3 == 1 and data[offset] == 0:
            offset = rng.randrange(len(data))
        yield path, offset, rng.randrange(1, 256)


def flip(path, offset, by):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ by]))


@pytest.fixture(name="place")
def copy_of_a_full_shop(folder, sqlite):
    full = FullShop(folder, sqlite)
    with contextlib.ExitStack() as open_places:
        open_places.callback(full.shop.close)
        var = os.path.join(folder, "copy", "var")
        shutil.copytree(sqlite.folder, var)
        place = Place(os.path.dirname(var), SqliteTables(var), {"LARDER_DATA": var})
        open_places.callback(place.close)
        place.tables.close()  # whoever has a file open knows what was in it
        place.folder = var
        yield place


def test_each_lost_byte_is_seen_or_changes_nothing_or_what_nothing_else_could_tell(place):
    patterns, seen, harmless, excused, renamed, wrongly, ended = unseen_patterns(), 0, 0, 0, 0, [], []
    files = sorted(glob.glob(f"{place.folder}/*_*.db"))
    before = {path: (contents(path), definitions(path)) for path in files}
    assert place.verify()[0] == DONE
    for path, offset, by in places_of_flips(random.Random(SEED), files):
        where = f"{os.path.basename(path)} at {offset}, changed by {by}"
        flip(path, offset, by)
        status, words = place.verify()
        if status < 0:
            ended.append(f"{where}: {words}")
        elif status != DONE:
            seen += 1
        else:
            (rows, said), now_said = before[path], definitions(path)
            if said[0] == now_said[0] and said[1] != now_said[1]:
                renamed += 1  # what needs the name says that there is no such column
                flip(path, offset, by)
                continue
            changed = cells(os.path.basename(path)[:-3], rows, contents(path))
            if changed == []:
                harmless += 1
            elif changed and all(is_excused(case, patterns) for case in changed):
                excused += 1
            else:
                wrongly.append(f"{where}: {changed}")
        flip(path, offset, by)
    status, words = place.verify()
    assert status == DONE, f"something was not undone\n{words}"
    print(f"seed {SEED}: of {FLIPS} lost bytes {seen} are seen, {harmless} change nothing, {excused} change what nothing else could tell, "
          f"{renamed} a definition")
    assert not ended, "\n".join(ended)
    assert not wrongly, "\n".join(wrongly)
    assert seen and harmless and excused
