"""Poolers in front of the cluster: what they are told, their start and their end."""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg2

from cluster import APPLICATION, DATABASE, LOOKUP, Cluster
from load import Address
from names import NAME
from processes import Failed, environment, own, service_user, start, tail, write_own
from reads import LAG_BYTES_MAX, READ_DATABASES, REPLICAS_ELSE_PRIMARY
from service import Service

PGBOUNCER = "/usr/sbin/pgbouncer"
ADMINISTRATOR = LOOKUP  # as the operator has it
START_S_MAX = 30
END_S_MAX = 30
# How Bezel finds the primary: by the members' REST interfaces, by trying the hosts of a list, by the addresses of a name, or by the Service as
# PgBouncer does.
FOLLOWS = ("patroni", "static", "dns", "service")

# What both are told alike: the settings of the Postgres operator's image, with its default sizes.
SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "md5",  # SCRAM is used for users with SCRAM secrets
    "auth_user": LOOKUP,
    "auth_query": f"SELECT * FROM {LOOKUP}.user_lookup($1)",
    "pool_mode": "transaction",
    "max_client_conn": 1000,
    "max_db_connections": 30,
    "default_pool_size": 15,
    "reserve_pool_size": 7,
    "idle_transaction_timeout": 600,
    "log_connections": 0,
    "log_disconnections": 0,
    "ignore_startup_parameters": "extra_float_digits,options",
}


def pgbouncer_configuration(port: int, auth_file: Path, service_port: int) -> str:
    settings = SETTINGS | {"listen_port": port, "auth_file": auth_file, "admin_users": ADMINISTRATOR, "server_login_retry": 5}
    lines = ["[databases]", f"* = host=127.0.0.1 port={service_port}", "[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
    return "\n".join(lines) + "\n"


def bezel_configuration(port: int, auth_file: Path, follow: str, cluster: Cluster, service_port: int) -> str:
    """JSON, which is YAML."""
    upstreams = {
        "patroni": {"upstream": {"source": "patroni", "urls": [node.rest_url for node in cluster.nodes]}},
        "static": {"upstream": {"source": "static"}, "host": [node.host for node in cluster.nodes], "port": [node.port for node in cluster.nodes],
                   "target_session_attrs": "read-write"},
        "dns": {"upstream": {"source": "dns", "host": NAME, "port": cluster.nodes[0].port}},
        "service": {"host": "127.0.0.1", "port": service_port},
    }
    settings = SETTINGS | {"listen_port": port, "auth_file": str(auth_file), "admin_users": [ADMINISTRATOR], "max_prepared_statements": 200}
    settings["log_connections"] = settings["log_disconnections"] = False
    settings["ignore_startup_parameters"] = SETTINGS["ignore_startup_parameters"].split(",")
    databases = {DATABASE: {"dbname": DATABASE} | upstreams[follow]}
    if follow == "dns":
        settings["resolv_conf"] = str(cluster.names.resolv_conf)
    if follow == "patroni":
        replicas = databases[DATABASE] | {"role": "replica", "max_replica_lag": LAG_BYTES_MAX}
        databases |= {name: replicas | {"fallback_to_primary": name == REPLICAS_ELSE_PRIMARY} for name in READ_DATABASES}
    return json.dumps(settings | {"databases": databases}, indent=1) + "\n"


class Pooler:
    """A running pooler, with the Service in front of the cluster where it needs that."""

    def __init__(self, name: str, cluster: Cluster, folder: Path, ports: list[int], argv: list[object], end_signal: int, service: Service | None,
                 prepares: bool):
        self.name = name
        self.prepares = prepares
        self.address = Address(ports[0], cluster.passwords.of[APPLICATION])
        self.log = folder / f"{name}.log"
        self._cluster = cluster
        self._folder = folder
        self._argv = argv
        self._end_signal = end_signal
        self._service = service
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns once a login and a statement go through."""
        if self._service:
            self._service.start()
        self._process = start(self._argv, self._folder, self.log)
        until = time.monotonic() + START_S_MAX
        while True:
            try:
                psycopg2.connect(self.address.conninfo()).close()
                return
            except psycopg2.Error as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise Failed(f"{self.name} does not take logins: {error}\n{tail(self.log)}") from error
                time.sleep(0.1)

    def console(self, command: str) -> str:
        """Runs a command of the console with psql; returns what it printed. Raises Failed."""
        conninfo = f"host=127.0.0.1 port={self.address.port} dbname=pgbouncer user={ADMINISTRATOR}"
        done = subprocess.run(["/usr/bin/psql", "-XAtq", "-c", command, conninfo], capture_output=True, text=True, timeout=90,
                              env=environment(self._folder) | {"PGPASSWORD": self._cluster.passwords.of[ADMINISTRATOR]})
        if done.returncode != 0:
            raise Failed(f"{command}: {done.stderr.strip()}")
        return done.stdout

    def end(self) -> str | None:
        """Ends it, with all its clients' connections; returns what was wrong with it, or None."""
        try:
            if self._process.poll() is not None:
                return f"{self.name} ended by itself, with status {self._process.returncode}:\n{tail(self.log)}"
            self._process.send_signal(self._end_signal)
            try:
                self._process.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                return f"{self.name} did not end within {END_S_MAX} s"
            # PgBouncer ends with 1 when it is told to end at once.
            return None if self._process.returncode in (0, 1) else f"{self.name} ended with status {self._process.returncode}:\n{tail(self.log)}"
        finally:
            if self._service:
                self._service.end()


def make_pgbouncer(cluster: Cluster, folder: Path, ports: list[int]) -> Pooler:
    """PgBouncer 1.18 behind the Service, as the operator's image has it, less TLS."""
    config = write_own(folder / "pgbouncer.ini", pgbouncer_configuration(ports[0], _auth_file(cluster, folder), ports[1]))
    # SIGTERM ends it at once; SIGINT would wait for the clients.
    return Pooler("pgbouncer", cluster, folder, ports, [PGBOUNCER, config], signal.SIGTERM, Service(cluster, ports[1]), prepares=False)


def make_bezel(program: Path, follow: str, cluster: Cluster, folder: Path, ports: list[int]) -> Pooler:
    config = write_own(folder / "bezel.yaml", bezel_configuration(ports[0], _auth_file(cluster, folder), follow, cluster, ports[1]))
    service = Service(cluster, ports[1]) if follow == "service" else None
    # The service user may not be able to reach the build folder.
    copy = own(Path(shutil.copy(program, folder / "bezel")))
    copy.chmod(0o700)
    return Pooler("bezel", cluster, folder, ports, [copy, config], signal.SIGQUIT, service, prepares=True)


def _auth_file(cluster: Cluster, folder: Path) -> Path:
    return write_own(folder / "userlist.txt", f'"{LOOKUP}" "{cluster.passwords.of[LOOKUP]}"\n')
