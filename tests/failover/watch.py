"""Writes to each node directly, twenty times a second, so that it is known when which of them took writes."""

import threading
import time
from dataclasses import dataclass

import psycopg2

from cluster import Cluster, Node

PERIOD_S = 0.05


@dataclass(frozen=True)
class Write:
    """One that a node acknowledged; times are time.monotonic()."""

    at: float
    node: str


class WriteWatch:
    def __init__(self, cluster: Cluster):
        self._writes: list[Write] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(node,), daemon=True) for node in cluster.nodes]
        cluster.leader().query("CREATE TABLE IF NOT EXISTS watch (node text, at timestamptz DEFAULT clock_timestamp())")
        for thread in self._threads:
            thread.start()

    def writes(self) -> list[Write]:
        return sorted(self._writes.copy(), key=lambda write: write.at)

    def first_write(self, since: float, not_by: str | None = None) -> float | None:
        """When a node, not the named one, took its first write since then."""
        return next((write.at for write in self.writes() if write.at > since and write.node != not_by), None)

    def first_write_after_outage(self, since: float, outage_s: float) -> float | None:
        """When writes were taken again, by whichever node, after none were for as long as that."""
        last = since
        for write in self.writes():
            if write.at > since:
                if write.at - last >= outage_s:
                    return write.at
                last = write.at
        return None

    def end(self) -> None:
        self._stop.set()

    def _run(self, node: Node) -> None:
        connection = None
        while not self._stop.wait(PERIOD_S):
            try:
                # Standbys refuse it all the time; that need not be in their logs.
                connection = connection or node.connect(options="-c log_min_messages=panic")
                with connection.cursor() as cursor:
                    cursor.execute("INSERT INTO watch (node) VALUES (%s)", (node.name,))
                self._writes.append(Write(time.monotonic(), node.name))
            except psycopg2.errors.ReadOnlySqlTransaction:
                pass
            except psycopg2.Error:
                if connection:
                    connection.close()
                connection = None
