# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   A dlq that answers what a test tells it to: for the faces of letters, which must be right whatever the dlq has.

LIFE      `FakeDlq(port)` binds a ROUTER in a thread; `handlers[op]` is called with the request's body and returns the answer's body, or
          (status, body) for a refusal. `asked` holds (op, body) in order. None as an answer: silence.
"""

import contextlib
import threading

import msgpack
import zmq
from patience import stretched

WAIT_MS = 50


class FakeDlq:
    def __init__(self, port):
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self.handlers = {}
        self.asked = []
        self.context = zmq.Context()
        self.is_ending = False
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(self.endpoint)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.is_ending:
            if not self.socket.poll(WAIT_MS):
                continue
            sender, header, body = self.socket.recv_multipart()
            header = msgpack.unpackb(header, raw=False)
            body = msgpack.unpackb(body, raw=False)
            self.asked.append((header["op"], body))
            answer = self.handlers.get(header["op"], lambda _: ("unknown_op", {"detail": "the test has no answer"}))(body)
            if answer is None:
                continue
            status, answer = answer if isinstance(answer, tuple) else ("ok", answer)
            reply = {"v": 1, "id": header["id"], "status": status}
            if header.get("again"):
                reply["again"] = True
            with contextlib.suppress(zmq.ZMQError):
                self.socket.send_multipart([sender, msgpack.packb(reply, use_bin_type=True), msgpack.packb(answer, use_bin_type=True)])

    def bodies(self, op):
        return [body for asked, body in self.asked if asked == op]

    def close(self):
        self.is_ending = True
        self.thread.join(stretched(5))
        self.socket.close()
        self.context.term()
