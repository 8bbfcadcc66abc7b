"""A real cluster: one etcd, and nodes of Patroni with PostgreSQL 15. What may happen to it is in events.py."""

import base64
import json
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2

from names import Names
from network import Loopback, Namespaces
from processes import POSTGRES_BIN, Failed, is_alive, kill_trees, make_folder, service_user, signal_all, start, stop_trees, tail, write_own

SCOPE = "jewelry"
NODE_NAMES = ["node1", "node2", "node3"]
DATABASE = "shop"
SUPERUSER = "postgres"
APPLICATION = "app"
LOOKUP = "pooler"
START_S_MAX = 90
HEAL_S_MAX = 90
# A member that has not come back by itself is made anew.
RESTART_AFTER_S = 15
NO_SYNC_STANDBY = "no synchronous standby"
REINITIALISE_AFTER_S = 25
TTL_S = 20

# As the Postgres operator makes it (docs/authentication-query.md has a better one).
_LOOKUP_SQL = f"""
CREATE SCHEMA {LOOKUP};
CREATE FUNCTION {LOOKUP}.user_lookup(IN i_username text, OUT uname text, OUT phash text) RETURNS record AS $$
BEGIN
  SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = i_username INTO uname, phash;
  RETURN;
END; $$ LANGUAGE plpgsql SECURITY DEFINER;
REVOKE ALL ON FUNCTION {LOOKUP}.user_lookup(text) FROM public, {LOOKUP};
GRANT EXECUTE ON FUNCTION {LOOKUP}.user_lookup(text) TO {LOOKUP};
GRANT USAGE ON SCHEMA {LOOKUP} TO {LOOKUP};
"""


@dataclass
class Passwords:
    """By user; new ones for each cluster."""

    of: dict[str, str] = field(default_factory=lambda: {name: secrets.token_urlsafe(12) for name in (SUPERUSER, "replicator", APPLICATION, LOOKUP)})


class Etcd:
    def __init__(self, folder: Path, address: str, port: int, peer_port: int):
        self.port = port
        self.url = f"http://{address}:{port}"
        self._folder = make_folder(folder / "etcd")
        self._log = folder / "etcd.log"
        peers = f"http://{address}:{peer_port}"
        self._argv = ["/usr/bin/etcd", "--data-dir", self._folder / "data", "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                      "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"]
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        self._process = start(self._argv, self._folder, self._log)
        _wait("etcd", lambda: self.get("none") is None, 20, self._log)

    def get(self, key: str, timeout_s: float = 1.0) -> str | None:
        """The value of a key of the cluster's, None without one. Raises OSError when etcd does not answer."""
        name = base64.b64encode(f"/service/{SCOPE}/{key}".encode()).decode()
        request = urllib.request.Request(f"{self.url}/v3/kv/range", json.dumps({"key": name}).encode())
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            values = json.load(answer).get("kvs", [])
        return base64.b64decode(values[0]["value"]).decode() if values else None

    def freeze(self) -> None:
        signal_all([self._process.pid], signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all([self._process.pid], signal.SIGCONT)


class Node:
    """A Patroni and its PostgreSQL."""

    def __init__(self, name: str, folder: Path, network: Loopback | Namespaces, etcd: Etcd, passwords: Passwords):
        self.name = name
        self.host = network.address(name)
        self.port = network.port(5432)
        self.rest_port = network.port(8008)
        self._network = network
        self._passwords = passwords
        self._folder = make_folder(folder / name)
        self._data = self._folder / "data"
        self.log = folder / f"{name}.log"
        self._config = write_own(folder / f"{name}.yaml", json.dumps(self._configuration(etcd), indent=1))
        self._patroni: subprocess.Popen | None = None
        self._stopped: list[int] = []
        self._deaf: list[int] = []

    @property
    def rest_url(self) -> str:
        return f"http://{self.host}:{self.rest_port}"

    def start(self) -> None:
        """Starts Patroni, which starts PostgreSQL; does not wait for it."""
        self._patroni = start(["/usr/bin/patroni", self._config], self._folder, self.log, prefix=self._network.prefix(self.name))

    def connect(self, database: str = "postgres", **options: object):
        """A superuser's connection to the server itself, which notices within seconds that the node does not answer."""
        connection = psycopg2.connect(host=self.host, port=self.port, dbname=database, user=SUPERUSER, password=self._passwords.of[SUPERUSER],
                                      **{"connect_timeout": 2, "tcp_user_timeout": 2000, "application_name": "harness"} | options)
        connection.autocommit = True
        return connection

    def query(self, sql: str, database: str = "postgres") -> list[tuple]:
        """Raises psycopg2.Error."""
        connection = self.connect(database, options="-c statement_timeout=5000")
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def rest(self, path: str, body: dict | None = None, timeout_s: float = 2.0) -> tuple[int, str]:
        """Status and body of an answer of Patroni's; (0, why) without one."""
        data = json.dumps(body).encode() if body is not None else None
        try:
            with urllib.request.urlopen(urllib.request.Request(self.rest_url + path, data), timeout=timeout_s) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except (OSError, ValueError) as error:
            return 0, str(error)

    def is_primary(self) -> bool:
        """By its Patroni and by the server itself."""
        try:
            return self.rest("/primary")[0] == 200 and not self.query("SELECT pg_is_in_recovery()")[0][0]
        except psycopg2.Error:
            return False

    def kill(self) -> None:
        kill_trees(*self._roots())

    def end_patroni(self) -> None:
        """Patroni ends PostgreSQL, gives the lock back, and ends."""
        signal_all([self._patroni.pid], signal.SIGTERM)

    def freeze_patroni(self) -> None:
        signal_all([self._patroni.pid], signal.SIGSTOP)

    def thaw_patroni(self) -> None:
        signal_all([self._patroni.pid], signal.SIGCONT)

    def kill_patroni(self) -> None:
        # With its children, of which PostgreSQL is none.
        kill_trees(self._patroni.pid)
        self._patroni.wait()

    def kill_postgres(self) -> None:
        kill_trees(self._postmaster())

    def freeze(self) -> None:
        self._stopped = stop_trees(*self._roots())

    def freeze_walreceiver(self) -> None:
        """What the leader writes does not arrive any more, and nobody is told."""
        self._deaf = [pid for pid, in self.query("SELECT pid FROM pg_stat_wal_receiver")]
        signal_all(self._deaf, signal.SIGSTOP)

    def revive(self) -> None:
        """Undoes what freezes, ends and kills. A Patroni that is still ending is there to be revived later.

        What was frozen begins anew: a Patroni 3.0.2 that wakes up in the middle of renewing its lock takes it back from the new
        leader, and what has been written there is lost.
        """
        signal_all(self._deaf, signal.SIGCONT)
        self._deaf = []
        signal_all(self._stopped, signal.SIGKILL)
        if self._stopped:
            self._patroni.wait()
        self._stopped = []
        if self._patroni.poll() is not None:
            self.start()

    def reinitialise(self) -> None:
        self.rest("/reinitialize", {"force": True}, timeout_s=10)

    def _roots(self) -> list[int]:
        return [self._patroni.pid, self._postmaster()]

    def _postmaster(self) -> int:
        try:
            pid = int((self._data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError) as error:
            raise Failed(f"{self.name} has no PostgreSQL: {error}") from error
        if not is_alive(pid):
            raise Failed(f"{self.name} has no PostgreSQL")
        return pid

    def _configuration(self, etcd: Etcd) -> dict:
        def user(name: str) -> dict:
            return {"username": name, "password": self._passwords.of[name]}

        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": {"listen": f"{self.host}:{self.rest_port}", "connect_address": f"{self.host}:{self.rest_port}"},
            "etcd3": {"host": etcd.url.removeprefix("http://")},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S, "loop_wait": 2, "retry_timeout": 5, "maximum_lag_on_failover": 1048576, "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": {
                        "max_connections": 60, "max_wal_senders": 8, "max_replication_slots": 8, "wal_keep_size": "128MB"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"{self.host}:{self.port}",
                "connect_address": f"{self.host}:{self.port}",
                "data_dir": str(self._data),
                "bin_dir": str(POSTGRES_BIN),
                "pgpass": str(self._folder / "pgpass"),
                "authentication": {"superuser": user(SUPERUSER), "replication": user("replicator"), "rewind": user(SUPERUSER)},
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
                "pg_hba": [f"host {databases} all {addresses} scram-sha-256" for databases in ("all", "replication")
                           for addresses in ("127.0.0.1/32", f"{self.host}/24")],
                "parameters": {
                    "unix_socket_directories": "", "fsync": "off", "shared_buffers": "16MB", "max_wal_size": "256MB",
                    "min_wal_size": "32MB", "autovacuum": "off", "jit": "off", "log_line_prefix": "%m [%p] ",
                    "log_min_messages": "warning", "checkpoint_timeout": "15min",
                },
            },
        }


class Cluster:
    """One cluster, which serves any number of events in turn."""

    def __init__(self, folder: Path, network: Loopback | Namespaces, dns_server: Path):
        """`dns_server`: the program of tests/fake_dns."""
        self.network = network
        self.passwords = Passwords()
        self.etcd = Etcd(folder, network.host_address, network.port(2379), network.port(2380))
        self.nodes = [Node(name, folder, network, self.etcd, self.passwords) for name in NODE_NAMES]
        self.names = Names(dns_server, folder, lambda: (holder := self.lock_holder()) and holder.host)

    def start(self) -> None:
        """Returns when all nodes are healthy and the databases and users of the tests are there."""
        self.etcd.start()
        # The first alone: whoever comes first would be the leader, and the others would wait for it anyhow.
        first = self.nodes[0]
        first.start()
        _wait("the first leader", first.is_primary, START_S_MAX, first.log)
        for node in self.nodes[1:]:
            node.start()
        self._make_databases(first)
        _wait("three healthy nodes", self.is_healthy, START_S_MAX, first.log)
        self.names.start()

    def leader(self) -> Node | None:
        return next((node for node in self.nodes if node.is_primary()), None)

    def lock_holder(self) -> Node | None:
        """Who holds Patroni's lock. Raises OSError when etcd does not answer."""
        name = self.etcd.get("leader")
        return next((node for node in self.nodes if node.name == name), None)

    def members(self) -> dict[str, dict]:
        """What /cluster of any node says of each; empty when none answers."""
        for node in self.nodes:
            status, body = node.rest("/cluster")
            if status == 200:
                return {member["name"]: member for member in json.loads(body)["members"]}
        return {}

    def sync_standby(self) -> Node | None:
        return self._first_with_role("sync_standby")

    def other_standby(self) -> Node | None:
        """One that no commit waits for."""
        return self._first_with_role("replica")

    def _first_with_role(self, role: str) -> Node | None:
        members = self.members()
        return next((node for node in self.nodes if members.get(node.name, {}).get("role") == role), None)

    def is_healthy(self) -> bool:
        return not self._missing()

    def heal(self) -> None:
        """Brings everything back to three healthy nodes, whatever was done to them."""
        self.network.rejoin_all()
        self.etcd.thaw()
        self.names.restore()
        begin = time.monotonic()
        made_anew = restarted = False
        while missing := self._revive():
            waited = time.monotonic() - begin
            if waited > HEAL_S_MAX:
                raise Failed(f"the cluster does not heal: {missing}\n" + "".join(f"--- {node.name}\n{tail(node.log)}\n" for node in self.nodes))
            if waited > REINITIALISE_AFTER_S and not made_anew and (leader := self.leader()):
                made_anew = True
                for node in self.nodes:
                    if node is not leader and node.name in missing:
                        node.reinitialise()
            if waited > RESTART_AFTER_S and not restarted and missing == NO_SYNC_STANDBY and (leader := self.leader()):
                # Patroni 3.0.2 may hold on to an outdated version of the key for good: "updated by someone else".
                restarted = True
                leader.kill_patroni()
            time.sleep(0.2)

    def _revive(self) -> str:
        for node in self.nodes:
            node.revive()
        return self._missing()

    def _missing(self) -> str:
        """What keeps the cluster from being healthy, in words; empty when nothing does."""
        members = self.members()
        leaders = [node for node in self.nodes if node.is_primary()]
        if len(leaders) != 1 or len(members) != len(self.nodes):
            return f"{len(leaders)} leaders, {len(members)} members"
        leader = leaders[0]
        try:
            streaming = {name for name, in leader.query("SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'")}
        except psycopg2.Error as error:
            return str(error)
        timeline = members[leader.name].get("timeline")
        behind = [node.name for node in self.nodes if node is not leader
                  and (node.name not in streaming or members[node.name].get("timeline") != timeline)]
        if behind:
            return f"not streaming: {' '.join(behind)}"
        if "sync_standby" not in {member["role"] for member in members.values()}:
            return NO_SYNC_STANDBY
        return ""

    def _make_databases(self, leader: Node) -> None:
        passwords = self.passwords.of
        leader.query(f"CREATE ROLE {APPLICATION} LOGIN PASSWORD '{passwords[APPLICATION]}'; CREATE ROLE {LOOKUP} LOGIN PASSWORD '{passwords[LOOKUP]}'")
        leader.query(f"CREATE DATABASE {DATABASE} OWNER {APPLICATION}")
        for database in (DATABASE, "postgres"):
            leader.query(_LOOKUP_SQL, database)


def _wait(what: str, condition, seconds_max: float, log: Path) -> None:
    until = time.monotonic() + seconds_max
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise Failed(f"no {what} within {seconds_max} s:\n{tail(log)}")
        time.sleep(0.1)
