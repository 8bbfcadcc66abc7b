"""The poolers on one core, in front of a server that does no work: their own cost and nothing else."""

import os
import sys

from measure import results
from measure.pgbench_rounds import rotated
from measure.poolers import BYTE_RELAY, DIRECT, PGBOUNCER, Setup, poolers_of, start, stop
from measure.processes import ChildFailed, DidNotStart
from measure.tools import NullServer, generate_load, start_null_server
from measure.workplace import Workplace

MODES = ["simple", "extended", "prepared"]
TRANSPORTS = ["tcp", "unix"]
WARMUP_S = 1


def can_run(contender: str, mode: str) -> bool:
    # The relay does not know which server has which statement; PgBouncer 1.18 does not either.
    return mode != "prepared" or contender not in (BYTE_RELAY, PGBOUNCER)


def two_cores() -> tuple[int, int]:
    """The pooler's core and the load's."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("warning: only one core; pooler and load share it", file=sys.stderr)
    return cores[0], cores[-1]


def measure(place: Workplace, name: str, rounds: int, seconds: float, clients: list[int]) -> dict:
    pooler_core, load_core = two_cores()
    data = results.begin(place.programs, rounds=rounds, seconds=seconds, clients=clients, cores=[pooler_core, load_core])
    server = start_null_server(place, load_core)
    contenders = [DIRECT, BYTE_RELAY, *poolers_of(place.programs)]
    for round_number in range(1, rounds + 1):
        step = round_number
        for transport in TRANSPORTS:
            for mode in MODES:
                for count in clients:
                    for contender in rotated(contenders, step):
                        if contender in data["refused"] or not can_run(contender, mode):
                            continue
                        key = {"round": round_number, "transport": transport, "mode": mode, "clients": count, "contender": contender}
                        cell = _measure_cell(place, server, key, seconds, pooler_core, load_core, data["refused"])
                        data["cells"].append(cell)
                        print(_line(cell), flush=True)
                    step += 1
        results.save(name, data)
    place.children.stop(server.child)
    return data


def _measure_cell(place: Workplace, server: NullServer, key: dict, seconds: float, pooler_core: int, load_core: int,
                  refused: dict[str, str]) -> dict:
    upstream = server.tcp if key["transport"] == "tcp" else server.unix
    try:
        target = start(place, key["contender"], Setup(upstream), pooler_core)
    except DidNotStart as error:
        refused[key["contender"]] = str(error)
        return key | {"error": str(error)}
    try:
        watch = ["--watch-pid", target.pid] if target.pid else []
        result = generate_load(place, target, key["mode"], key["clients"], "--seconds", seconds - WARMUP_S, "--warmup", WARMUP_S, *watch,
                               core=load_core)
    except ChildFailed as error:
        return key | {"error": str(error)}
    finally:
        stop(place, target)
    return key | _figures(result)


def _figures(result: dict) -> dict:
    if result["errors"] > 0:
        return {"error": f"{result['errors']} errors, the first: {result['first_error']}"}
    if result["window_transactions"] == 0:
        return {"error": "no transaction in the measured time"}
    figures = {
        "transactions": result["window_transactions"],
        "tps": result["tps"],
        "p50_us": result["latency_us"]["p50"],
        "p99_us": result["latency_us"]["p99"],
    }
    if result.get("watched"):
        for name, source in (("cpu_us", "cpu_us"), ("voluntary", "voluntary_switches"), ("involuntary", "involuntary_switches")):
            figures[name] = result["watched"][source] / result["window_transactions"]
    return figures


def _line(cell: dict) -> str:
    head = f"round {cell['round']}  {cell['transport']:4} {cell['mode']:8} {cell['clients']:5} clients  {cell['contender']:12}"
    if "error" in cell:
        return f"{head} FAILED: {' '.join(cell['error'].split())[:200]}"
    tail = f"{cell['tps']:9.0f} tps  p99 {cell['p99_us'] / 1000:7.2f} ms"
    return head + tail + (f"  {cell['cpu_us']:7.2f} us CPU" if "cpu_us" in cell else "")
