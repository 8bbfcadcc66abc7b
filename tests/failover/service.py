"""Stands in for the ClusterIP Service in front of a Patroni cluster: an address that leads to the leader.

New connections go to the node that holds Patroni's lock, 0.3 s after it took it, which is about what an Endpoints object and kube-proxy need;
without a holder they are refused. Established ones stay where they are, whatever becomes of the node: kube-proxy leaves them alone, too. Unlike
kube-proxy it ends TCP connections, so a dead node is not seen by TCP_USER_TIMEOUT of who is in front of it.
"""

import asyncio
import socket
import threading

from cluster import Cluster, Node
from processes import Failed

DELAY_S = 0.3
POLL_S = 0.1
CONNECT_S_MAX = 60
START_S_MAX = 10
HOST = "127.0.0.1"


class Service:
    """Runs on a thread of its own from start() to end()."""

    def __init__(self, cluster: Cluster, port: int):
        self.port = port
        self._cluster = cluster
        self._target: Node | None = None
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task] = set()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Returns when there is a leader to be led to."""
        self._thread.start()
        if not self._open.wait(START_S_MAX):
            raise Failed("the service finds no leader")

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        following = self._loop.create_task(self._follow())
        self._loop.run_forever()
        tasks = [following, *self._connections]
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        if self._server:
            self._server.close()
        self._loop.close()

    async def _follow(self) -> None:
        shown = None
        while True:
            holder = await self._loop.run_in_executor(None, self._holder)
            if holder is not shown:
                shown = holder
                self._loop.call_later(DELAY_S, lambda holder=holder: self._loop.create_task(self._lead_to(holder)))
            await asyncio.sleep(POLL_S)

    def _holder(self) -> Node | None:
        """While etcd is silent nothing changes for kube-proxy."""
        try:
            return self._cluster.lock_holder()
        except OSError:
            return self._target

    async def _lead_to(self, node: Node | None) -> None:
        self._target = node
        if node and not self._server:
            self._server = await asyncio.start_server(self._take, HOST, self.port)
            self._open.set()
        elif not node and self._server:
            self._server.close()
            self._server = None

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._connections.add(task)
        upstream, target = None, self._target
        try:
            if not target:
                return
            upstream_reader, upstream = await asyncio.wait_for(asyncio.open_connection(target.host, target.port), CONNECT_S_MAX)
            for stream in (writer, upstream):
                stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(_copy(reader, upstream), _copy(upstream_reader, writer))
        except (OSError, asyncio.TimeoutError):
            pass  # both ends are closed below
        finally:
            self._connections.discard(task)
            for stream in (writer, upstream):
                if stream:
                    stream.transport.abort() if stream.transport.is_closing() else stream.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Raises when either end is gone, so that gather() ends the other direction too."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError
