# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Stands between larder and a MySQL server, passes packets on, and is told by a test to be the network at its worst: a COMMIT
          held back and delivered later or never, an answer that gets lost, connections cut, a server that nobody reaches or that says
          nothing any more.

STATE     A thread with an event loop of its own. What a test calls is handed over to that loop and is done when the call returns.

LIMITS    Plain connections; a client's packet is read whole, so it is for small statements.
"""

import asyncio
import threading

from patience import stretched

COM_QUERY = 3


class Link:
    """One client's connection, and the one that was made to the server for it."""

    def __init__(self, client_writer, server_writer):
        self.client_writer, self.server_writer = client_writer, server_writer
        self.held = []
        self.drops_answers = False


class MysqlProxy:
    def __init__(self, host, port):
        self.host, self.server_port, self.port = host, port, None
        self.links = []
        self.is_refusing = self.is_stalled = False
        self.swallows_kill = False
        self.commit_plans = []  # what becomes of the next COMMITs, in turn
        self.commits_met = 0  # how many were held, delayed or lost their answer
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.started = threading.Event()
        self.tasks = set()
        self.thread.start()
        assert self.started.wait(stretched(10))

    # --- what a test says ---

    def hold_commit(self):
        """The next COMMIT is kept here, and its client's connection is cut; deliver() or forget() says what becomes of it."""
        self._do(lambda: setattr(self, "commit_plans", ["hold"]))

    def delay_commit(self):
        """The next COMMIT is kept here, and its client waits; deliver() sends it on, and the answer comes back."""
        self._do(lambda: setattr(self, "commit_plans", ["delay"]))

    def lose_commit_answer(self, times=1):
        """The next COMMITs reach the server, their answers are lost with the client's connections."""
        self._do(lambda: setattr(self, "commit_plans", ["lose"] * times))

    def deliver(self):
        """Sends what was held back to the server, over the connection that it was meant for."""
        self._do(self._deliver)

    def forget(self):
        """Throws away what was held back, and ends those connections towards the server."""
        self._do(self._forget)

    def cut(self):
        """Ends every connection, on both sides."""
        self._do(self._cut)

    def refuse(self, is_refusing=True):
        """New connections are ended at once, and those that are there too."""
        def change():
            self.is_refusing = is_refusing
            if is_refusing:
                self._cut()
        self._do(change)

    def stall(self, is_stalled=True):
        """Nothing that comes is passed on any more; connections stay until the stall ends."""
        def change():
            self.is_stalled = is_stalled
            if not is_stalled:
                self._cut()
        self._do(change)

    def close(self):
        self._do(self._cut)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(stretched(10))

    # --- in the loop ---

    def _do(self, what):
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (what(), done.set()))
        assert done.wait(stretched(10))

    def _serve(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self.started.set()
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _deliver(self):
        for link in self.links:
            for packet in link.held:
                link.server_writer.write(packet)
            link.held.clear()

    def _forget(self):
        for link in self.links:
            if link.held:
                link.held.clear()
                link.server_writer.close()

    def _cut(self):
        for link in self.links:
            link.client_writer.close()
            link.server_writer.close()

    async def _accept(self, reader, writer):
        if self.is_refusing:
            writer.close()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(self.host, self.server_port)
        except OSError:
            writer.close()
            return
        link = Link(writer, server_writer)
        self.links.append(link)
        answers = asyncio.ensure_future(self._pass_answers(link, server_reader))
        self.tasks.add(answers)
        answers.add_done_callback(self.tasks.discard)
        try:
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(int.from_bytes(head[:3], "little"))
                self._pass_packet(link, head, body)
        except (OSError, asyncio.IncompleteReadError):
            pass
        if not link.held and not link.drops_answers:
            server_writer.close()

    def _pass_packet(self, link, head, body):
        if self.is_stalled:
            return
        query = body[1:].strip().lower() if body[:1] == bytes([COM_QUERY]) else b""
        if self.swallows_kill and query.startswith(b"kill "):
            body = bytes([COM_QUERY]) + b"DO 0".ljust(len(body) - 1)
        plan = self.commit_plans.pop(0) if query == b"commit" and self.commit_plans else None
        if plan is not None:
            link.drops_answers = plan != "delay"
            if plan != "lose":
                link.held.append(head + body)
                self.commits_met += 1
                if plan == "hold":
                    link.client_writer.close()
                return
        link.server_writer.write(head + body)

    async def _pass_answers(self, link, server_reader):
        try:
            while chunk := await server_reader.read(65536):
                if link.drops_answers:
                    if not link.held and not link.client_writer.is_closing():
                        link.client_writer.close()
                        self.commits_met += 1
                elif not self.is_stalled:
                    link.client_writer.write(chunk)
        except OSError:
            pass
        link.client_writer.close()
        link.server_writer.close()
