"""One event, under load, through one pooler: what happened and what was wrong with it."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import events
from cluster import Cluster
from events import Event, Times
from ledger import NO_ERRORS, Breach, Ledger, check, check_waiting
from load import Load, prepare_table, stored_ids
from pooler import Pooler
from processes import Failed, tail
from reads import ReplicaWatch, check_reads
from watch import WriteWatch

# All clients are at work before anything happens.
WARM_UP_S_MAX = 30
WARM_UP_S = 2
# Then errors may still come: of servers that were taken for the primary, of caches, of a returned old leader.
SETTLE_S = 4
AFTER_HEAL_S = 2
STOP_S_MAX = 15


@dataclass
class Result:
    event: str
    pooler: str
    # Of each time that it happened.
    rounds: list[Times]
    ledger: Ledger
    # Until when what the figures say was observed; then the cluster was healed, still under load.
    observed_until: float
    breaches: list[Breach]
    # The pooler itself failed, or could not be ended.
    complaint: str | None

    def passed(self) -> bool:
        return not self.breaches and not self.complaint

    def verdict(self, examples_max: int = 3) -> str:
        """Breaches by kind, with some examples of each."""
        lines = []
        for kind, count in Counter(breach.kind for breach in self.breaches).most_common():
            lines.append(f"{count} x {kind}")
            lines += [f"    {breach.detail}" for breach in self.breaches if breach.kind == kind][:examples_max]
        if self.complaint:
            lines.append(self.complaint)
        return "\n".join(lines) if lines else "the promise was kept"


def run(event: Event, cluster: Cluster, make_pooler: Callable[[], Pooler], trigger: Callable[[Pooler], None] | None = None,
        repeats: int = 1) -> Result:
    """Starts the pooler and the load, lets the event happen (by `trigger` in its stead: the event says what is to be seen then), heals, ends
    both, and checks. Leaves the cluster healthy. Raises Failed when anything but the pooler did not do its part."""
    prepare_table(cluster)
    watch, replicas = WriteWatch(cluster), ReplicaWatch(cluster, event.read_databases)
    pooler = make_pooler()
    pooler.start()
    ledger = Ledger()
    load = Load(pooler.address, ledger, pooler.prepares, event.read_databases)
    try:
        load.start()
        if not _wait_for_all(load, WARM_UP_S_MAX):
            raise _not_at_work(pooler, ledger)
        time.sleep(WARM_UP_S)
        if trigger:
            event = _triggered(event, pooler, trigger)
        rounds, waiting = [], []
        for _ in range(repeats):
            if rounds:
                cluster.heal()
            rounds.append(events.run(event, cluster, watch))
            _wait_for_all(load, event.patience_s, rounds[-1].writable)
            waiting += check_waiting(ledger, rounds[-1].writable)
        time.sleep(SETTLE_S)
        observed_until = time.monotonic()
        cluster.heal()
        time.sleep(AFTER_HEAL_S)
        load.stop(STOP_S_MAX)
    finally:
        watch.end()
        replicas.end()
        ledger.closed.set()
        complaint = pooler.end()
    if not load.join():
        complaint = (complaint or "") + f"clients still wait though {pooler.name} has ended"
    breaches = waiting + check(ledger, stored_ids(cluster), event.allowed, event.allowed_to_readers) + check_reads(ledger.reads, replicas.samples)
    return Result(event.name, pooler.name, rounds, ledger, observed_until, breaches, complaint)


def _triggered(event: Event, pooler: Pooler, trigger: Callable[[Pooler], None]) -> Event:
    """By the pooler's own hand, so that it has no excuse for any error."""
    return replace(event, happen=lambda _cluster, _leader: trigger(pooler), allowed=NO_ERRORS)


def _wait_for_all(load: Load, seconds_max: float, since: float = 0.0) -> bool:
    """Whether each client had an answer since then, within the time."""
    until = time.monotonic() + seconds_max
    while not load.all_succeeded_since(since):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _not_at_work(pooler: Pooler, ledger: Ledger) -> Failed:
    without = [client for client, times in ledger.successes.items() if not times]
    failures = "\n".join(map(str, ledger.failures[:5]))
    return Failed(f"{without} do not get to work, before anything happens:\n{failures}\n{tail(pooler.log)}")
