# SPDX-License-Identifier: MPL-2.0
"""A wall clock that is wrong for the processes of one shop, and can be put right while they run; the machine's own is left alone.

libfaketime answers for CLOCK_REALTIME alone: what is steady stays so, as on a machine whose clock somebody sets.
"""

import glob
import os

import pytest

LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"


class WrongClock:
    """`by_s` is how far it is ahead of the right one."""

    def __init__(self, folder, by_s=0):
        found = glob.glob(LIBRARY)
        if not found:
            pytest.skip("there is no libfaketime")
        if "ASAN_OPTIONS" in os.environ or "TSAN_OPTIONS" in os.environ:
            pytest.skip("a sanitizer has to come first in a process")
        self.library, self.path = found[0], os.path.join(folder, "clock")
        self.set(by_s)

    def set(self, by_s):
        """From here on, for all who use it."""
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(f"{by_s:+d}s\n")
        os.replace(self.path + ".new", self.path)

    @property
    def settings(self):
        """The environment of who is to use it."""
        return {"LD_PRELOAD": self.library, "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
