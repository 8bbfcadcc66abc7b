"""What may happen to a cluster. Each event returns at once when it has happened; Cluster.heal() undoes them all."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cluster import Cluster, Node
from ledger import NO_ERRORS, PROMISE, Allowed
from processes import Failed
from reads import KNOWN_AFTER_S, LAG_BYTES_MAX, READ_DATABASES, REPLICAS_ELSE_PRIMARY, is_readable
from watch import WriteWatch

ETCD_DOWN_S = 30
SCHEDULED_IN_S = 6
SILENT_S = 2
STALE_NAME_S = 30
# How long clients may take to go on once writes are taken: a bound for waiting, far above what a pooler that follows needs.
PATIENCE_S = 20
# Until Patroni tells of something by its figures.
FIGURES_S_MAX = 30
# So slowly that within Patroni's loop_wait less than LAG_BYTES_MAX is written.
LAG_STEP_BYTES = 100_000
LAG_STEP_S = 0.4
# Long enough for reads to be wrong.
READ_ON_S = KNOWN_AFTER_S + 5


@dataclass(frozen=True)
class Event:
    name: str
    # As it stands in the table for readers.
    title: str
    # Does it to the cluster, whose leader is given.
    happen: Callable[[Cluster, Node], None]
    # 0: another node becomes the leader. Otherwise writes stop for at least that long, and whoever is the leader then takes them again.
    outage_s: float = 0
    # Nothing changes: writes go on all the time.
    harmless: bool = False
    # Whether nodes must be cut off, which takes namespaces.
    needs_namespaces: bool = False
    # What clients may see of it.
    allowed: Allowed = PROMISE
    # Until when writes are taken again, from the event on; generous, for busy machines.
    takeover_s_max: float = 75
    # By what the pooler finds the primary, if the event is about that.
    follow: str | None = None
    # The databases whose clients read from replicas meanwhile, and what those may see.
    read_databases: frozenset[str] = frozenset()
    allowed_to_readers: Allowed = NO_ERRORS
    patience_s: float = PATIENCE_S

    @property
    def for_pgbouncer(self) -> bool:
        """Behind the Service it has no replicas, and nothing else to follow."""
        return not self.follow and not self.read_databases


@dataclass(frozen=True)
class Times:
    """When what happened, by time.monotonic()."""

    happened: float
    old_leader: str
    # A write was acknowledged by the new leader, or again by the old one where the event does not move the leader.
    writable: float
    # The old leader's last write before that.
    last_old_write: float


def run(event: Event, cluster: Cluster, watch: WriteWatch) -> Times:
    """Lets the event happen, and returns when writes are taken again. Raises Failed when they are not."""
    leader = cluster.leader()
    if not leader:
        raise Failed("there is no leader that something could happen to")
    happened = time.monotonic()
    event.happen(cluster, leader)
    if event.harmless:
        return Times(happened, leader.name, time.monotonic(), happened)
    while True:
        if event.outage_s:
            writable = watch.first_write_after_outage(happened, event.outage_s)
        else:
            writable = watch.first_write(happened, not_by=leader.name)
        if writable:
            before = [write.at for write in watch.writes() if write.node == leader.name and write.at < writable]
            return Times(happened, leader.name, writable, max(before, default=happened))
        if time.monotonic() - happened > event.takeover_s_max:
            raise Failed(f"{event.name}: no writes within {event.takeover_s_max} s")
        time.sleep(0.05)


def switch_over(cluster: Cluster, leader: Node) -> None:
    _ask_for_switchover(cluster, leader, {}, 200)


def _schedule_switchover(cluster: Cluster, leader: Node) -> None:
    at = datetime.now(timezone.utc) + timedelta(seconds=SCHEDULED_IN_S)
    _ask_for_switchover(cluster, leader, {"scheduled_at": at.isoformat()}, 202)


def _ask_for_switchover(cluster: Cluster, leader: Node, more: dict, status_expected: int) -> None:
    """In synchronous mode Patroni takes no other candidate than the synchronous standby."""
    candidate = _standby(cluster.sync_standby())
    status, body = leader.rest("/switchover", {"leader": leader.name, "candidate": candidate.name} | more, timeout_s=60)
    if status != status_expected:
        raise Failed(f"switchover to {candidate.name}: {status} {body}")


def _freeze_etcd(cluster: Cluster, _leader: Node) -> None:
    cluster.etcd.freeze()
    time.sleep(ETCD_DOWN_S)
    cluster.etcd.thaw()


def _freeze_patroni(cluster: Cluster, _leader: Node) -> None:
    """For less than any of Patroni's times."""
    for node in cluster.nodes:
        node.freeze_patroni()
    time.sleep(SILENT_S)
    for node in cluster.nodes:
        node.thaw_patroni()


def _silence_names(cluster: Cluster, _leader: Node) -> None:
    cluster.names.silence()
    time.sleep(SILENT_S)
    cluster.names.speak()


def _switch_over_unnamed(cluster: Cluster, leader: Node) -> None:
    """The name goes on to lead to the old leader, which is a standby then."""
    cluster.names.delay_s = STALE_NAME_S
    switch_over(cluster, leader)


def _kill_replica(cluster: Cluster, _leader: Node) -> None:
    """The one that commits wait for, until Patroni has chosen the other."""
    _standby(cluster.sync_standby()).kill()
    time.sleep(READ_ON_S)


def _kill_replicas(cluster: Cluster, leader: Node) -> None:
    for node in cluster.nodes:
        if node is not leader:
            node.kill()
    time.sleep(READ_ON_S)


def _let_replica_lag(cluster: Cluster, leader: Node) -> None:
    """As behind a network that is too slow, by more than the pooler's bound.

    Little by little: Patroni compares the leader's position with one of the replica's that it read up to loop_wait earlier, and so
    says for some milliseconds after a burst that every replica is behind by all of it.
    """
    replica = _standby(cluster.other_standby())
    replica.freeze_walreceiver()
    for _ in range(2 * LAG_BYTES_MAX // LAG_STEP_BYTES):
        leader.query(f"SELECT pg_logical_emit_message(false, 'lag', repeat('x', {LAG_STEP_BYTES}))")
        time.sleep(LAG_STEP_S)
    until = time.monotonic() + FIGURES_S_MAX
    while is_readable(cluster.members()[replica.name]):
        if time.monotonic() > until:
            raise Failed(f"Patroni does not say that {replica.name} lags")
        time.sleep(0.2)
    time.sleep(READ_ON_S)


def _standby(node: Node | None) -> Node:
    if not node:
        raise Failed("no standby of that kind that something could happen to")
    return node


EVENTS = [
    Event("switchover", "switchover", switch_over),
    # What a pooler can know beforehand, it can prepare for.
    Event("scheduled_switchover", "switchover at a time that Patroni was told before", _schedule_switchover, allowed=NO_ERRORS),
    # As when a pod is deleted.
    Event("end_patroni", "SIGTERM to the leader's Patroni", lambda _, leader: leader.end_patroni()),
    Event("kill_leader", "kill -9 of leader and its Patroni", lambda _, leader: leader.kill()),
    Event("cut_from_etcd", "leader cut off from etcd only", lambda cluster, leader: cluster.network.cut_from_port(leader.name, cluster.etcd.port),
          needs_namespaces=True),
    Event("blackhole", "leader cut off from everything", lambda cluster, leader: cluster.network.cut_off(leader.name), needs_namespaces=True),
    Event("freeze_leader", "SIGSTOP of the whole leader", lambda _, leader: leader.freeze()),
    Event("kill_patroni", "kill -9 of the leader's Patroni alone", lambda _, leader: leader.kill_patroni()),
    Event("kill_postgres", "kill -9 of PostgreSQL alone", lambda _, leader: leader.kill_postgres(), outage_s=0.5),
    Event("rest_silent", "no Patroni answers for two seconds, in calm", _freeze_patroni, harmless=True, allowed=NO_ERRORS),
    Event("etcd_down", "etcd does not answer for 30 s", _freeze_etcd, outage_s=5),
    Event("stale_name", f"switchover, and the cluster's name in DNS leads to the old leader for {STALE_NAME_S} s more", _switch_over_unnamed, follow="dns",
          patience_s=PATIENCE_S + STALE_NAME_S),
    Event("names_silent", "no DNS server answers for two seconds, in calm; by name", _silence_names, follow="dns", harmless=True, allowed=NO_ERRORS),
    Event("read_switchover", "switchover, with readers of replicas", switch_over, read_databases=READ_DATABASES),
    Event("kill_replica", "kill -9 of a replica and its Patroni", _kill_replica, harmless=True, allowed=NO_ERRORS, read_databases=READ_DATABASES,
          allowed_to_readers=PROMISE),
    Event("kill_replicas", "kill -9 of both replicas, with readers that may fall back", _kill_replicas, harmless=True, allowed=NO_ERRORS,
          read_databases=frozenset({REPLICAS_ELSE_PRIMARY}), allowed_to_readers=PROMISE),
    Event("lagging_replica", "a replica falls behind", _let_replica_lag, harmless=True, allowed=NO_ERRORS, read_databases=READ_DATABASES),
]
BY_NAME = {event.name: event for event in EVENTS}
