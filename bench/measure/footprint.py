"""What a pooler takes before it works: memory of idle clients, time to start, time to fill a pool."""

import functools
import sys
import time
from collections.abc import Callable

from measure import certificate, login, results
from measure.pgbench_rounds import rotated
from measure.poolers import POOL_SIZE, Contender, Setup, poolers_of, start, stop
from measure.processes import Child, ChildFailed, DidNotStart, resident_bytes
from measure.tools import generate_load, hold_clients, hold_tls_clients, start_null_server
from measure.workplace import Workplace

IDLE_CLIENTS = (1000, 3000)
IDLE_TLS_CLIENTS = (200, 1000)
STARTS = 10
FILLS = 5
FILL_CLIENTS = 1000
FILL_LOGIN_DELAY_MS = 5
# Long enough that a thousand queries keep 25 servers busy while the pool still grows.
FILL_QUERY_DELAY_MS = 10


def _measure(data: dict, key: dict, measure: Callable[[], dict]) -> None:
    """Adds a cell, of figures or of what went wrong. A pooler that cannot run here is not tried again."""
    name = key["contender"]
    if name in data["refused"]:
        return
    try:
        cell = key | measure()
    except DidNotStart as error:
        data["refused"][name] = str(error)
        print(f"warning: {name} is left out: {error}", file=sys.stderr)
        return
    except ChildFailed as error:
        cell = key | {"error": str(error)}
    data["cells"].append(cell)
    print("  ".join(f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in cell.items()), flush=True)


def measure_memory(place: Workplace) -> dict:
    """Resident memory with no, 1000 and 3000 idle clients; both for clients that only logged in and for such that ran a query."""
    data = results.begin(place.programs, idle_clients=IDLE_CLIENTS)
    server = start_null_server(place)
    setup = Setup(server.tcp, clients_max=IDLE_CLIENTS[-1] + 100)
    for queries in (0, 1):
        hold = functools.partial(hold_clients, transactions=queries)
        for name in poolers_of(place.programs):
            _measure(data, {"contender": name, "queries_before": queries}, lambda: _memory_of(place, name, setup, IDLE_CLIENTS, hold))
    place.children.stop(server.child)
    results.save("memory", data)
    return data


def measure_tls_memory(place: Workplace) -> dict:
    """The same with 200 and 1000 idle clients by TLS."""
    data = results.begin(place.programs, idle_clients=IDLE_TLS_CLIENTS)
    server = start_null_server(place)
    setup = Setup(server.tcp, clients_max=IDLE_TLS_CLIENTS[-1] + 100, certificate=certificate.make(place))
    for name in poolers_of(place.programs):
        _measure(data, {"contender": name}, lambda: _memory_of(place, name, setup, IDLE_TLS_CLIENTS, hold_tls_clients))
    place.children.stop(server.child)
    results.save("tls_memory", data)
    return data


def _memory_of(place: Workplace, name: str, setup: Setup, counts: tuple[int, ...], hold: Callable[[Workplace, Contender, int], Child]) -> dict:
    target = start(place, name, setup)
    holders = []
    try:
        figures: dict = {"rss_0": resident_bytes(target.pid)}
        held = 0
        for count in counts:
            holders.append(hold(place, target, count - held))
            held = count
            time.sleep(1)  # let it finish what it does after a login
            figures[f"rss_{count}"] = resident_bytes(target.pid)
    finally:
        for holder in holders:
            place.children.stop(holder)
        stop(place, target)
    first, last = counts
    figures["bytes_per_client"] = (figures[f"rss_{last}"] - figures[f"rss_{first}"]) / (last - first)
    return figures


def measure_startup(place: Workplace) -> dict:
    """Milliseconds from the start of the process until a login is answered. The first start, with cold files, does not count."""
    data = results.begin(place.programs, starts=STARTS)
    server = start_null_server(place)
    names = poolers_of(place.programs)
    for turn in range(STARTS + 1):
        for name in rotated(names, turn):
            _measure(data, {"round": turn, "contender": name}, lambda: _start_once(place, name, Setup(server.tcp)))
    data["cells"] = [cell for cell in data["cells"] if cell["round"] > 0]
    place.children.stop(server.child)
    results.save("startup", data)
    return data


def _start_once(place: Workplace, name: str, setup: Setup) -> dict:
    begin = time.monotonic()
    target = start(place, name, setup, pause_s=0.0005)
    elapsed_ms = (time.monotonic() - begin) * 1000
    stop(place, target)
    return {"elapsed_ms": elapsed_ms}


def measure_fill(place: Workplace) -> dict:
    """A thousand clients arrive at once at a pooler without server connections: when is the pool full, when are all answered?"""
    data = results.begin(place.programs, clients=FILL_CLIENTS, login_delay_ms=FILL_LOGIN_DELAY_MS, query_delay_ms=FILL_QUERY_DELAY_MS,
                         pool_size=POOL_SIZE)
    names = poolers_of(place.programs)
    for turn in range(FILLS):
        for name in rotated(names, turn):
            _measure(data, {"round": turn + 1, "contender": name}, lambda: _fill_once(place, name))
    results.save("fill", data)
    return data


def _fill_once(place: Workplace, name: str) -> dict:
    server = start_null_server(place, None, "--login-delay-ms", FILL_LOGIN_DELAY_MS, "--query-delay-ms", FILL_QUERY_DELAY_MS,
                               "--report-logins")
    try:
        # Ready when it listens: a login would already open the first server connection.
        target = start(place, name, Setup(server.tcp), ready=login.listens)
        try:
            result = generate_load(place, target, "arrive", FILL_CLIENTS, "--timeout", 60)
        finally:
            stop(place, target)
    finally:
        place.children.stop(server.child)
    if result["errors"] > 0:
        raise ChildFailed(f"{name}: {result['errors']} errors, the first: {result['first_error']}")
    logins = [event["monotonic_ns"] for event in server.events() if event["event"] == "login"]
    since_start = [(at - result["start_monotonic_ns"]) / 1e6 for at in logins]
    return {
        "servers_opened": len(logins),
        "pool_full_ms": since_start[POOL_SIZE - 1] if len(logins) >= POOL_SIZE else None,
        "all_logged_in_ms": result["all_logged_in_us"] / 1000,
        "all_answered_ms": result["all_answered_us"] / 1000,
    }
