# SPDX-License-Identifier: MPL-2.0
"""
One thread of a child process, stopped while the others run: as a loop that hangs. It is held by ptrace, so it goes on when the block
ends. From the thread that started the child, as only that one may trace it everywhere.
"""

import contextlib
import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_DETACH, _SEIZE, _INTERRUPT = 17, 0x4206, 0x4207
_WALL = 0x40000000


def _ptrace(request, thread):
    if _libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def threads(pid):
    """Their numbers by their names."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as file:
            found[file.read().strip()] = int(thread)
    return found


@contextlib.contextmanager
def frozen_thread(pid, name):
    thread = threads(pid)[name]
    _ptrace(_SEIZE, thread)
    _ptrace(_INTERRUPT, thread)
    os.waitpid(thread, _WALL)
    try:
        yield
    finally:
        try:
            _ptrace(_DETACH, thread)
        except OSError:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(thread, _WALL)  # the process has ended meanwhile, and would be there until its tracer has heard of it
