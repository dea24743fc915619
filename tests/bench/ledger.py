# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Makes a ledger as long as years of selling would leave it: ten million sales of one product, written straight into the
          SQLite file of a stopped larder.

METHOD    The chain that larder itself began with the product `old` is continued: one `take` of one unit per line, each with the
          level and version after it and the line before it, a milestone where larder would write one, and at the end the
          product's level. The ids are UUIDv7, four per millisecond up to now, in order, as larder makes them. So `larder verify`
          finds nothing wrong in it.

LIMITS    Knows the tables of actors/stock/stock_schema.c and the distance of milestones in stock_store.c. About a minute per
          ten million lines, and 2 GB.
"""

import os
import sqlite3
import time

from measure import BenchError

ROWS = 10000000
PRODUCT = "old"
MILESTONE = 256
PER_MS = 4
CHUNK = 100000

MOVE = ("INSERT INTO move (n, request, line, kind, product, delta, reserved_delta, on_hand, reserved, incoming, version, previous,"
        " time, fingerprint) VALUES (?, ?, 0, 'take', ?, -1, 0, ?, 0, 0, ?, ?, ?, 0)")


def uuid7(time_ms, counter, noise):
    """Version and variant as RFC 9562 wants them; 12 bits count within a millisecond, the rest is noise."""
    return time_ms.to_bytes(6, "big") + (0x7000 | counter).to_bytes(2, "big") + bytes([0x80 | noise[0] & 0x3f]) + noise[1:]


def chunk_of_lines(first, count, chain):
    """`count` lines of the ledger. `chain` is (next n, on hand, version, previous n) and the time of the very first line."""
    number, on_hand, version, previous, start_ms = chain
    noise = os.urandom(8 * count)
    lines = []
    for i in range(count):
        time_ms = start_ms + (first + i) // PER_MS
        request = uuid7(time_ms, (first + i) % PER_MS, noise[8 * i:8 * i + 8])
        lines.append((number + i, request, PRODUCT, on_hand - i - 1, version + i + 1, previous if i == 0 else number + i - 1, time_ms))
    return lines


def fill(path, rows=ROWS):
    """Adds `rows` lines to the ledger in the file `path`, which nobody else has open."""
    if not os.path.exists(path):
        raise BenchError(f"there is no ledger at {path}")
    database = sqlite3.connect(path, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous = OFF")
        on_hand, version, previous = database.execute(
            "SELECT on_hand, version, last_move FROM level WHERE product = ?", (PRODUCT,)).fetchone()
        number = database.execute("SELECT MAX(n) + 1 FROM move").fetchone()[0]
        start_ms = int(time.time() * 1000) - rows // PER_MS - 1
        for first in range(0, rows, CHUNK):
            lines = chunk_of_lines(first, min(CHUNK, rows - first), (number, on_hand, version, previous, start_ms))
            database.execute("BEGIN IMMEDIATE")
            database.executemany(MOVE, lines)
            database.executemany("INSERT INTO milestone (product, version, n) VALUES (?, ?, ?)",
                                 [(PRODUCT, line[4], line[0]) for line in lines if line[4] % MILESTONE == 0])
            previous, _, _, on_hand, version = lines[-1][:5]
            number = previous + 1
            database.execute("UPDATE level SET on_hand = ?, version = ?, last_move = ? WHERE product = ?",
                             (on_hand, version, previous, PRODUCT))
            database.execute("COMMIT")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise BenchError(f"the ledger cannot be filled: {error}") from None
    finally:
        database.close()
    os.sync()
