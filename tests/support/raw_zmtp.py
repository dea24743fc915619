# SPDX-License-Identifier: MPL-2.0
"""ZMTP 3 by hand, for peers that a library would not let us be: they flood, leave with a reset, never read, never end a message."""

import socket
import struct
import time

MORE, LONG, COMMAND = 1, 2, 4
PING = b"\x04PING"


def greeting(revision=3, minor=1, mechanism=b"NULL"):
    return b"\xff" + bytes(8) + b"\x7f" + bytes([revision, minor]) + mechanism.ljust(20, b"\0") + bytes(32)


def frame(body, flags=0):
    if len(body) > 255:
        return bytes([flags | LONG]) + struct.pack(">Q", len(body)) + body
    return bytes([flags, len(body)]) + body


def message(*frames):
    return b"".join(frame(part, MORE) for part in frames[:-1]) + frame(frames[-1])


def property_of(name, value):
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def ready(kind, identity=b"", more=b""):
    return frame(b"\x05READY" + property_of(b"Socket-Type", kind) + property_of(b"Identity", identity) + more, COMMAND)


def ping(ttl_ds=0, context=b""):
    return frame(PING + struct.pack(">H", ttl_ds) + context, COMMAND)


class Peer:
    """A connection to a ROUTER or a PUB, as the kind of socket that is named."""

    def __init__(self, port, kind=b"DEALER", identity=b"", handshake=True, receive_buffer=None, timeout_s=10):
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if handshake:
            self.send(greeting() + ready(kind, identity))
            self.receive_exactly(64)
            self.receive_frame()

    def send(self, data):
        self.socket.sendall(data)

    def pour(self, data, stalled_s=0.3, at_most_s=3):
        """Sends the same bytes again and again, until nothing is taken for so long or the time is over; how many bytes went out. A closed
        connection ends it."""
        end = time.monotonic() + at_most_s
        self.socket.settimeout(stalled_s)
        sent, at = 0, 0
        try:
            while time.monotonic() < end:
                taken = self.socket.send(memoryview(data)[at:])
                sent += taken
                at = (at + taken) % len(data)
        except OSError:
            pass
        return sent

    def receive_exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("closed by the other side")
            data += piece
        return data

    def receive_frame(self):
        """(flags, body)"""
        flags = self.receive_exactly(1)[0]
        size = struct.unpack(">Q", self.receive_exactly(8))[0] if flags & LONG else self.receive_exactly(1)[0]
        return flags, self.receive_exactly(size)

    def is_closed(self, within_s=5):
        """Whether the other side ends the connection in this time; what it sends until then is thrown away."""
        self.socket.settimeout(within_s)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except socket.timeout:
            return False
        except OSError:
            return True

    def reset(self):
        """Leaves with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()
