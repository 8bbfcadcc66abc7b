"""Which servers were read from by clients of replicas, and whether they were to be read from by what Patroni says of them.

Nobody can know at once what becomes of a replica. So a read is wrong only if for some seconds before it everything was said against its
server: that is a bound for how outdated a pooler's knowledge may be, far above what one that follows needs.
"""

import bisect
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from cluster import Cluster, Node
from ledger import Breach, Read

# The pooler's databases with role: replica.
REPLICAS_ONLY = "shop_ro"
REPLICAS_ELSE_PRIMARY = "shop_ro_else"
READ_DATABASES = frozenset({REPLICAS_ONLY, REPLICAS_ELSE_PRIMARY})
LAG_BYTES_MAX = 1024 * 1024
PERIOD_S = 0.5
KNOWN_AFTER_S = 10


@dataclass(frozen=True)
class Sample:
    """What could be known at one moment; servers by their addresses."""

    at: float
    # Replicas that run and are not too far behind by Patroni's figures, and take connections.
    readable: frozenset[str]
    leader: str | None


class ReplicaWatch:
    """Takes samples from its beginning to end(), if anybody reads from replicas: Patroni is not to be asked for nothing."""

    def __init__(self, cluster: Cluster, read_databases: frozenset[str]):
        self.samples: list[Sample] = []
        self._cluster = cluster
        self._stop = threading.Event()
        if read_databases:
            threading.Thread(target=self._run, daemon=True).start()

    def end(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            at = time.monotonic()
            members = self._cluster.members()
            if members:
                nodes = [node for node in self._cluster.nodes if node.name in members]
                readable = frozenset(node.host for node in nodes if is_readable(members[node.name]) and _takes_connections(node))
                leader = next((node.host for node in nodes if members[node.name]["role"] == "leader"), None)
                self.samples.append(Sample(at, readable, leader))


def is_readable(member: dict) -> bool:
    """By what Patroni's /cluster says of it. The lag may be "unknown"."""
    lag = member.get("lag")
    return member["role"] in ("replica", "sync_standby") and member["state"] in ("running", "streaming") and isinstance(lag, int) and lag <= LAG_BYTES_MAX


def check_reads(reads: Iterable[Read], samples: list[Sample]) -> list[Breach]:
    """Each read from a server that was not to be read from."""
    breaches = []
    for read in reads:
        begin = bisect.bisect_left(samples, read.began - KNOWN_AFTER_S, key=lambda sample: sample.at)
        end = bisect.bisect_right(samples, read.began, key=lambda sample: sample.at)
        # With the next one: a pooler may have heard of something new first.
        known = samples[begin:end + 1]
        # Patroni may have been silent.
        if len(known) < KNOWN_AFTER_S / PERIOD_S / 2 or any(read.server in sample.readable for sample in known):
            continue
        fell_back = read.may_fall_back and any(not sample.readable for sample in known)
        if not (fell_back and any(read.server == sample.leader for sample in known)):
            breaches.append(Breach("read from the wrong server", f"{read.client}, {read.server} at {read.began:.2f}: {known[-2:]}"))
    return breaches


def _takes_connections(node: Node) -> bool:
    try:
        socket.create_connection((node.host, node.port), timeout=PERIOD_S).close()
        return True
    except OSError:
        return False
