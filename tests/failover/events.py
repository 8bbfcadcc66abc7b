"""What may happen to a cluster. Each event returns at once when it has happened; Cluster.heal() undoes them all."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from cluster import Cluster, Node
from ledger import NO_ERRORS, PROMISE, Allowed
from processes import Failed
from watch import WriteWatch

ETCD_DOWN_S = 30
SCHEDULED_IN_S = 6
REST_SILENT_S = 2


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
    candidate = cluster.sync_standby()
    if not candidate:
        raise Failed("no synchronous standby to switch over to")
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
    time.sleep(REST_SILENT_S)
    for node in cluster.nodes:
        node.thaw_patroni()


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
]
BY_NAME = {event.name: event for event in EVENTS}
