"""The contenders: PgBouncer, Bezel with each way of sending, the byte relay, and no pooler at all."""

import base64
import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

from measure import login, scram
from measure.certificate import Certificate
from measure.processes import Child, ChildFailed, DidNotStart, free_port, wait_for
from measure.workplace import Programs, Workplace

DIRECT = "direct"
BYTE_RELAY = "byte_relay"
PGBOUNCER = "pgbouncer"
BEZEL = "bezel"
BEZEL_AIO = "bezel_aio"
BEZEL_PLAIN = "bezel_plain"

LABELS = {
    DIRECT: "direct",
    BYTE_RELAY: "byte relay",
    PGBOUNCER: "PgBouncer",
    BEZEL: "Bezel (io_uring)",
    BEZEL_AIO: "Bezel (aio)",
    BEZEL_PLAIN: "Bezel (plain send)",
}

# Bezel with each way of sending, by its setting.
BATCHED_SENDS = {BEZEL: "io_uring", BEZEL_AIO: "aio", BEZEL_PLAIN: "off"}
BEZELS = tuple(BATCHED_SENDS)

USER = "bench"
DATABASE = "bench"
PASSWORD = "bench"  # of a throw-away user on a loopback port
POOL_SIZE = 25


@dataclass(frozen=True)
class Upstream:
    """The server behind a pooler; a host that begins with '/' is the folder of its unix socket."""

    host: str
    port: int


@dataclass(frozen=True)
class LoginWay:
    """How clients prove who they are, and what of it the poolers have in `auth_file`."""

    label: str
    auth_type: str
    secret: Callable[[], str]
    tls: bool = False


TRUST = LoginWay("trust", "trust", lambda: "")
SCRAM = LoginWay("scram-sha-256", "scram-sha-256", lambda: scram_secret(PASSWORD))
SCRAM_PLAIN = LoginWay("scram-sha-256, plain password kept", "scram-sha-256", lambda: PASSWORD)
LOGIN_WAYS = (
    TRUST,
    LoginWay("md5", "md5", lambda: md5_secret(PASSWORD)),
    SCRAM,
    SCRAM_PLAIN,
    LoginWay("scram-sha-256 by TLS", "scram-sha-256", SCRAM.secret, tls=True),
)


@dataclass(frozen=True)
class Setup:
    upstream: Upstream
    clients_max: int = 1100
    way: LoginWay = TRUST
    certificate: Certificate | None = None  # with one, clients that ask for TLS get it
    encrypt_servers: bool = False


@dataclass
class Contender:
    """A running pooler, or the server itself (then without a process of its own to watch)."""

    name: str
    host: str
    port: int
    child: Child | None = None
    tls: bool = False  # it takes TLS, and what comes to it is to use it

    @property
    def pid(self) -> int | None:
        return self.child.pid if self.child else None


def poolers_of(programs: Programs) -> list[str]:
    """The poolers that can be measured here, PgBouncer first."""
    return ([PGBOUNCER] if programs.pgbouncer else []) + (list(BEZELS) if programs.bezel else [])


def scram_secret(password: str) -> str:
    """PostgreSQL's stored form (RFC 5803 in its own spelling), so that no pooler has to derive it at each login."""
    salt, iterations = os.urandom(16), 4096
    keys = scram.keys_of(password, salt, iterations)
    encoded = [base64.b64encode(part).decode() for part in (salt, keys.stored, keys.server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def md5_secret(password: str) -> str:
    return "md5" + hashlib.md5((password + USER).encode()).hexdigest()


def _tls_settings(setup: Setup) -> dict[str, object]:
    settings: dict[str, object] = {}
    if setup.certificate:
        # Who asks whether the pooler is there does so without TLS.
        settings |= {"client_tls_sslmode": "allow", "client_tls_cert_file": str(setup.certificate.path),
                     "client_tls_key_file": str(setup.certificate.key)}
    if setup.encrypt_servers:
        settings |= {"server_tls_sslmode": "require"}
    return settings


def _settings(setup: Setup, port: int, auth_file: str) -> dict[str, object]:
    """What all poolers are told alike; the names are PgBouncer's, which Bezel shares."""
    return _tls_settings(setup) | {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        # The default, 128, would have most of a thousand arriving clients wait for TCP's retransmissions.
        "listen_backlog": 4096,
        "unix_socket_dir": "",
        "auth_type": setup.way.auth_type,
        "auth_file": auth_file,
        "pool_mode": "transaction",
        "default_pool_size": POOL_SIZE,
        "max_client_conn": setup.clients_max,
        "log_connections": 0,
        "log_disconnections": 0,
    }


def _conninfo(upstream: Upstream) -> str:
    return f"host={upstream.host} port={upstream.port} dbname={DATABASE}"


def _pgbouncer_config(settings: dict[str, object], upstream: Upstream) -> str:
    lines = ["[databases]", f"{DATABASE} = {_conninfo(upstream)}", "[pgbouncer]"]
    return "\n".join(lines + [f"{name} = {value}" for name, value in settings.items()]) + "\n"


def _bezel_config(settings: dict[str, object], upstream: Upstream, batched_sends: str) -> str:
    settings = settings | {
        "workers": 1,
        "batched_sends": batched_sends,
        "max_prepared_statements": 200,
        "databases": {DATABASE: _conninfo(upstream)},
    }
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())


def _launch(place: Workplace, name: str, setup: Setup, core: int | None) -> Contender:
    port = free_port()
    log = place.path(f"{name}.log")
    if name == DIRECT:
        return Contender(name, setup.upstream.host, setup.upstream.port)
    if name == BYTE_RELAY:
        argv = [place.programs.tool("byte_relay"), "--port", port, "--server-host", setup.upstream.host, "--server-port",
                setup.upstream.port, "--servers", POOL_SIZE, "--max-clients", setup.clients_max]
        return Contender(name, "127.0.0.1", port, place.children.start(name, argv, log, core=core))
    auth_file = place.path("userlist.txt")
    auth_file.write_text(f'"{USER}" "{setup.way.secret()}"\n')
    settings = _settings(setup, port, str(auth_file))
    if name == PGBOUNCER:
        config = place.path("pgbouncer.ini")
        config.write_text(_pgbouncer_config(settings, setup.upstream))
        # SIGINT would wait until all clients are gone.
        child = place.children.start(name, [place.programs.pgbouncer, config], log, user=place.user, core=core)
    else:
        config = place.path("bezel.yaml")
        config.write_text(_bezel_config(settings, setup.upstream, BATCHED_SENDS[name]))
        child = place.children.start(name, [place.bezel, config], log, user=place.user, core=core,
                                     stop_signal=signal.SIGINT)
    return Contender(name, "127.0.0.1", port, child, tls=setup.certificate is not None)


def start(place: Workplace, name: str, setup: Setup, core: int | None = None, *,
          ready: Callable[[str, int], bool] = login.answers_logins, pause_s: float = 0.01) -> Contender:
    """Starts a contender and waits until it is `ready` (by default: answers a login). Raises DidNotStart."""
    contender = _launch(place, name, setup, core)
    try:
        if contender.child:
            wait_for(lambda: ready(contender.host, contender.port), contender.child, "being ready", pause_s=pause_s)
    except ChildFailed as error:
        stop(place, contender)
        raise DidNotStart(str(error)) from error
    return contender


def stop(place: Workplace, contender: Contender) -> None:
    if contender.child:
        place.children.stop(contender.child)
