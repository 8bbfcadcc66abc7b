"""What TLS costs: CPU per transaction, and what logins do to the queries of those that are in."""

import subprocess
import sys
import time
from dataclasses import dataclass

from measure import certificate, pgbench, pgbench_turns, results
from measure.pgbench_rounds import rotated
from measure.poolers import SCRAM, SCRAM_PLAIN, TRUST, LoginWay, Setup, poolers_of, start, stop
from measure.postgres import PrivatePostgres
from measure.processes import ChildFailed, DidNotStart
from measure.tools import login_load_command, result_of
from measure.workplace import Workplace

# Whose connections are encrypted.
CLIENTS_ONLY = "clients"
CLIENTS_AND_SERVERS = "clients and servers"

# Queries that come at a fixed rate, well below what the machine can do: their latency is what they wait, and waits of a queue before them count.
QUERY_RATE = 1000
QUERY_CLIENTS = 20
HANDSHAKE_RATE = 500
STORM_CLIENTS = 1000
# pgbench runs until it is told to end.
_RUN_MAX_S = 600
_READY_MAX_S = 60


@dataclass(frozen=True)
class Crowd:
    """Those who log in while others work."""

    label: str
    way: LoginWay
    options: tuple[object, ...]


CROWDS = (
    Crowd(f"{HANDSHAKE_RATE} TLS logins a second", TRUST, ("--tls", "--rate", HANDSHAKE_RATE)),
    Crowd(f"{STORM_CLIENTS} SCRAM logins at once", SCRAM, ("--at-once", STORM_CLIENTS)),
    Crowd(f"{STORM_CLIENTS} SCRAM logins at once, plain password kept", SCRAM_PLAIN, ("--at-once", STORM_CLIENTS)),
)


def _start_server(place: Workplace) -> tuple[PrivatePostgres, certificate.Certificate]:
    own = certificate.make(place)
    server = PrivatePostgres(place, own)
    server.start()
    server.initialise_pgbench()
    return server, own


def measure_cpu(place: Workplace, rounds: int, seconds: float, modes: list[str], clients: list[int]) -> dict:
    """As `cpu`, with TLS between clients and poolers, and then also between poolers and servers."""
    data = pgbench_turns.begin(place, rounds, seconds, modes, clients)
    server, own = _start_server(place)
    for label, encrypt_servers in ((CLIENTS_ONLY, False), (CLIENTS_AND_SERVERS, True)):
        setup = Setup(server.tcp, certificate=own, encrypt_servers=encrypt_servers)
        for _ in pgbench_turns.in_rounds(place, data, setup, {"encrypted": label}):
            results.save("tls", data)
    return data


def measure_crowds(place: Workplace, rounds: int, seconds: float) -> dict:
    """The latency of queries for some seconds without others, for some with others that log in elsewhere, and for some with such as log in here.

    Elsewhere is a second process of the same pooler: it takes as much of the machine as the crowd does here, and stalls nobody here.
    """
    data = results.begin(place.programs, rounds=rounds, seconds=seconds, query_rate=QUERY_RATE, query_clients=QUERY_CLIENTS, certificate=certificate.KIND)
    server, own = _start_server(place)
    names = poolers_of(place.programs)
    step = 0
    for round_number in range(1, rounds + 1):
        for crowd in CROWDS:
            for name in rotated(names, step):
                if name not in data["refused"]:
                    key = {"round": round_number, "crowd": crowd.label, "contender": name}
                    _measure_cell(place, data, key, Setup(server.tcp, way=crowd.way, certificate=own), crowd, seconds)
            step += 1
        results.save("crowds", data)
    return data


def _measure_cell(place: Workplace, data: dict, key: dict, setup: Setup, crowd: Crowd, seconds: float) -> None:
    name = key["contender"]
    try:
        figures = _run_cell(place, name, setup, crowd, seconds)
    except DidNotStart as error:
        data["refused"][name] = str(error)
        print(f"warning: {name} is left out: {error}", file=sys.stderr)
        return
    except ChildFailed as error:
        figures = {"error": str(error)}
    data["cells"].append(key | figures)
    print(_line(data["cells"][-1]), flush=True)


def _run_cell(place: Workplace, name: str, setup: Setup, crowd: Crowd, seconds: float) -> dict:
    elsewhere = start(place, name, setup)
    try:
        return _run_beside(place, name, setup, crowd, seconds, elsewhere.port)
    finally:
        stop(place, elsewhere)


def _run_beside(place: Workplace, name: str, setup: Setup, crowd: Crowd, seconds: float, elsewhere: int) -> dict:
    target = start(place, name, setup)
    prefix = place.path("latency")
    options = ["-b", "select-only", "-R", QUERY_RATE, "-l", f"--log-prefix={prefix}"]
    try:
        load = pgbench.start(place, target, options, QUERY_CLIENTS, _RUN_MAX_S, place.path("pgbench.log"))
        try:
            pgbench.wait_for_progress(load, _READY_MAX_S)
            begin = time.time()
            time.sleep(seconds)
            end = time.time()
            away = _send(place, elsewhere, crowd, seconds)
            here = _send(place, target.port, crowd, seconds)
        finally:
            pgbench.end(place, load, _READY_MAX_S)
    finally:
        stop(place, target)
    latencies = pgbench.latencies_in(prefix)
    alone = pgbench.quantiles(latencies, begin, end)["p99_us"]
    elsewhere_us, here_us = (pgbench.quantiles(latencies, logins["begin"], logins["end"])["p99_us"] for logins in (away, here))
    return {"logins_per_s": here["logins"] / (here["end"] - here["begin"]), "p99_alone_us": alone, "p99_elsewhere_us": elsewhere_us, "p99_us": here_us,
            "p99_growth": here_us / elsewhere_us}


def _send(place: Workplace, port: int, crowd: Crowd, seconds: float) -> dict:
    """Has the crowd log in and leave for some seconds; the result event."""
    log = place.path("login_load.log")
    child = place.children.start("login load", [*login_load_command(port), "--seconds", seconds, *crowd.options], log)
    try:
        child.popen.wait(seconds + _READY_MAX_S)
    except subprocess.TimeoutExpired:
        raise ChildFailed("the logins did not end in time") from None
    finally:
        place.children.stop(child)
    result = result_of(log)
    if result["errors"] > 0:
        raise ChildFailed(f"{result['errors']} of {result['errors'] + result['logins']} logins failed, the first: {result['first_error']}")
    return result


def _line(cell: dict) -> str:
    head = f"round {cell['round']}  {cell['crowd']:50}  {cell['contender']:12}"
    if "error" in cell:
        return f"{head} FAILED: {' '.join(cell['error'].split())[:200]}"
    return (f"{head}{cell['logins_per_s']:7.0f} logins/s  p99 alone {cell['p99_alone_us'] / 1000:7.2f}  logins elsewhere "
            f"{cell['p99_elsewhere_us'] / 1000:7.2f}  here {cell['p99_us'] / 1000:7.2f} ms")
