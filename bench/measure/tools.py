"""The benchmark's own C++ programs: the null server and the load generator."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from measure.poolers import DATABASE, PASSWORD, USER, Contender, Upstream
from measure.processes import Child, ChildFailed, free_port, wait_for
from measure.workplace import ROOT, Workplace


def events_of(text: str) -> list[dict]:
    """JSON, one event a line; lines of another kind (a message on standard error) are passed over."""
    events = []
    for line in text.splitlines():
        if line.startswith("{"):
            events.append(json.loads(line))
    return events


@dataclass
class NullServer:
    tcp: Upstream
    unix: Upstream
    child: Child

    def events(self) -> list[dict]:
        return events_of(self.child.log.read_text())


def start_null_server(place: Workplace, core: int | None = None, *extra: object) -> NullServer:
    """It listens on TCP and on a unix socket, under one port number."""
    port = free_port()
    argv = [place.programs.tool("null_server"), "--host", "127.0.0.1", "--host", place.folder, "--port", port, *extra]
    child = place.children.start("null server", argv, place.path("null_server.log"), core=core)
    server = NullServer(Upstream("127.0.0.1", port), Upstream(str(place.folder), port), child)
    wait_for(server.events, child, "listening null server")
    # The pooler runs as another user than the null server where root started them.
    (place.folder / f".s.PGSQL.{port}").chmod(0o777)
    return server


def generator_command(place: Workplace, target: Contender, mode: str, clients: int, *extra: object) -> list[str]:
    argv = [place.programs.tool("load_generator"), "--host", target.host, "--port", target.port, "--user", USER,
            "--database", DATABASE, "--mode", mode, "--clients", clients, *extra]
    return [str(a) for a in argv]


def generate_load(place: Workplace, target: Contender, mode: str, clients: int, *extra: object, core: int | None = None,
                  timeout_s: float = 180) -> dict:
    """Runs the load generator to its end and returns its result event."""
    log = place.path("load_generator.log")
    child = place.children.start("load generator", generator_command(place, target, mode, clients, *extra), log, core=core)
    try:
        child.popen.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"the load generator did not end within {timeout_s:.0f} s") from None
    finally:
        place.children.stop(child)
    return result_of(log)


def result_of(log: Path) -> dict:
    for event in reversed(events_of(log.read_text())):
        if event["event"] == "result":
            return event
    raise ChildFailed(f"the load generator gave no result:\n{log.read_text()[-2000:]}")


def hold_clients(place: Workplace, target: Contender, clients: int, transactions: int = 0) -> Child:
    """Logs clients in and holds them until the child is stopped; returns once all are in."""
    return _hold(place, clients, generator_command(place, target, "idle", clients, "--seconds", 600, "--transactions", transactions))


def hold_tls_clients(place: Workplace, target: Contender, clients: int) -> Child:
    """The same by TLS."""
    return _hold(place, clients, [*login_load_command(target.port), "--tls", "--hold", clients])


def login_load_command(port: int) -> list[object]:
    """The program that logs in and leaves, or stays; without what it has to do."""
    return ["/usr/bin/python3", "-B", ROOT / "bench" / "login_load.py", "--port", port, "--user", USER, "--database", DATABASE, "--password", PASSWORD]


def _hold(place: Workplace, clients: int, argv: list[object]) -> Child:
    log = place.path("load_generator.log")
    child = place.children.start("load generator", argv, log)
    wait_for(lambda: any(event["event"] == "holding" for event in events_of(log.read_text())), child,
             f"{clients} idle clients", timeout_s=120, pause_s=0.1)
    return child
