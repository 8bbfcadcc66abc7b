"""A private PostgreSQL for the time of the benchmark: throw-away data, so nothing is synced to disk."""

import os
import signal
import subprocess
from pathlib import Path

from measure.certificate import Certificate
from measure.poolers import DATABASE, USER, Upstream
from measure.processes import ChildFailed, free_port, wait_for
from measure.workplace import Workplace

CONNECTIONS_MAX = 200
SCALE = 10

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
max_connections = {connections_max}
shared_buffers = 256MB
max_wal_size = 4GB
fsync = off
synchronous_commit = off
full_page_writes = off
# Vacuum runs between rounds, never inside a measurement.
autovacuum = off
logging_collector = off
"""
_TLS_CONFIGURATION = """
ssl = on
ssl_cert_file = '{certificate.path}'
ssl_key_file = '{certificate.key}'
"""


class PrivatePostgres:
    def __init__(self, place: Workplace, certificate: Certificate | None = None):
        """With a certificate it offers TLS."""
        self._place = place
        self._certificate = certificate
        self._bin = place.programs.postgres_bin
        self.port = free_port()
        self.tcp = Upstream("127.0.0.1", self.port)
        self.unix = Upstream(str(place.folder), self.port)

    def start(self) -> None:
        data = self._place.path("postgres")
        self._run([self._bin / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C",
                   "--no-sync", "-D", data], as_service=True)
        with open(data / "postgresql.conf", "a") as file:
            file.write(_CONFIGURATION.format(connections_max=CONNECTIONS_MAX))
            if self._certificate:
                file.write(_TLS_CONFIGURATION.format(certificate=self._certificate))
        argv = [self._bin / "postgres", "-D", data, "-p", self.port, "-k", self._place.folder]
        # SIGINT is PostgreSQL's fast shutdown.
        child = self._place.children.start("postgres", argv, self._place.path("postgres.log"), user=self._place.user,
                                           stop_signal=signal.SIGINT)
        wait_for(self._is_ready, child, "PostgreSQL that accepts connections", timeout_s=60, pause_s=0.1)
        self.sql(f"CREATE ROLE {USER} LOGIN", database="postgres", user="postgres")
        self.sql(f"CREATE DATABASE {DATABASE} OWNER {USER}", database="postgres", user="postgres")

    def initialise_pgbench(self) -> None:
        self._run([self._bin / "pgbench", "-i", "-q", "-s", SCALE, *self._target(USER), DATABASE])

    def tidy(self) -> None:
        """Undoes what a round of TPC-B leaves behind, so that later rounds meet the same tables."""
        self.sql("TRUNCATE pgbench_history")
        self.sql("VACUUM ANALYZE pgbench_branches, pgbench_tellers, pgbench_accounts")

    def sql(self, text: str, database: str = DATABASE, user: str = USER) -> None:
        self._run([self._bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *self._target(user), "-d", database, "-c", text])

    def version(self) -> str:
        shown = subprocess.run([self._bin / "postgres", "--version"], capture_output=True, text=True, check=True)
        return shown.stdout.strip()

    def _target(self, user: str) -> list[str]:
        return ["-h", str(self._place.folder), "-p", str(self.port), "-U", user]

    def _is_ready(self) -> bool:
        ready = subprocess.run([self._bin / "pg_isready", "-q", "-h", self._place.folder, "-p", str(self.port)])
        return ready.returncode == 0

    def _run(self, argv: list[str | int | Path], as_service: bool = False) -> None:
        user = self._place.user if as_service else None
        identity = {"user": user, "group": user, "extra_groups": []} if user else {}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, cwd="/", env=environment,
                              timeout=300, **identity)
        if done.returncode != 0:
            raise ChildFailed(f"{Path(argv[0]).name} failed: {done.stderr.strip()[-2000:]}")
