"""pgbench through every contender, in interleaved rounds."""

import sys
import time

from measure import pgbench, results
from measure.poolers import BEZELS, DIRECT, PGBOUNCER, POOL_SIZE, Contender, Setup, poolers_of, start, stop
from measure.postgres import CONNECTIONS_MAX, PrivatePostgres
from measure.processes import ChildFailed, DidNotStart
from measure.workplace import Workplace

# Room for the pools of all poolers besides what connects directly.
_DIRECT_CLIENTS_MAX = CONNECTIONS_MAX - (1 + len(BEZELS)) * POOL_SIZE - 10


def can_run(contender: str, mode: str, clients: int) -> bool:
    if contender == DIRECT:
        return clients <= _DIRECT_CLIENTS_MAX
    # 1.18 does not track prepared statements in transaction mode.
    return not (contender == PGBOUNCER and mode == "prepared")


def start_all(place: Workplace, names: list[str], setup: Setup, refused: dict[str, str]) -> dict[str, Contender]:
    """Starts the poolers; one that does not start (no io_uring here, say) is noted in `refused` and left out."""
    running = {DIRECT: Contender(DIRECT, setup.upstream.host, setup.upstream.port)}
    for name in names:
        try:
            running[name] = start(place, name, setup)
        except DidNotStart as error:
            refused[name] = str(error)
            print(f"warning: {name} is left out: {error}", file=sys.stderr)
    return running


def rotated(items: list, by: int) -> list:
    by %= max(1, len(items))
    return items[by:] + items[:by]


class Comparison:
    """The rounds, and their results so far."""

    def __init__(self, place: Workplace, name: str, rounds: int, seconds: int, modes: list[str], clients: list[int],
                 deadline: float | None):
        self._place, self._name, self._deadline = place, name, deadline
        self._rounds, self._seconds, self._modes, self._clients = rounds, seconds, modes, clients
        self._data = results.begin(place.programs, rounds=rounds, seconds=seconds, modes=modes, clients=clients) | {"skipped": 0}

    def run(self) -> dict:
        server = PrivatePostgres(self._place)
        server.start()
        server.initialise_pgbench()
        setup = Setup(server.tcp)
        running = start_all(self._place, poolers_of(self._place.programs), setup, self._data["refused"])
        for round_number in range(1, self._rounds + 1):
            server.tidy()
            self._revive(running, setup)
            self._run_round(round_number, running)
            results.save(self._name, self._data)
        for contender in running.values():
            stop(self._place, contender)
        return self._data

    def _revive(self, running: dict[str, Contender], setup: Setup) -> None:
        """A pooler that broke down fails the rest of its round, and is there again in the next."""
        for name, contender in list(running.items()):
            if contender.child and not contender.child.alive():
                print(f"warning: {name} broke down:\n{contender.child.log_tail()}", file=sys.stderr)
                stop(self._place, contender)
                del running[name]
                running |= {n: c for n, c in start_all(self._place, [name], setup, self._data["refused"]).items() if n == name}

    def _run_round(self, round_number: int, running: dict[str, Contender]) -> None:
        step = round_number
        for mode in self._modes:
            for clients in self._clients:
                # Another contender is first each time: none profits from always coming after the same neighbour.
                for name in rotated([DIRECT, PGBOUNCER, *BEZELS], step):
                    if name in running and can_run(name, mode, clients):
                        self._run_cell({"round": round_number, "mode": mode, "clients": clients, "contender": name}, running[name])
                step += 1

    def _run_cell(self, key: dict, target: Contender) -> None:
        if self._deadline and time.monotonic() + self._seconds + 2 > self._deadline:
            self._data["skipped"] += 1
            return
        try:
            if target.child and not target.child.alive():
                raise ChildFailed(f"{target.name} is not running any more")
            measured = pgbench.run(self._place, target, pgbench.workload(key["mode"]), key["clients"], self._seconds)
        except ChildFailed as error:
            measured = {"error": str(error)}
        self._data["cells"].append(key | measured)
        print(_line(key, measured), flush=True)


def _line(key: dict, measured: dict) -> str:
    head = f"round {key['round']}  {key['mode']:9} {key['clients']:5} clients  {key['contender']:12}"
    if "error" in measured:
        return f"{head} FAILED: {' '.join(measured['error'].split())[:200]}"
    tail = f"{measured['tps']:9.0f} tps  p50 {measured['p50_us'] / 1000:8.2f} ms  p99 {measured['p99_us'] / 1000:8.2f} ms"
    if "cpu_us" in measured:
        tail += f"  {measured['cpu_us']:7.2f} us CPU  {measured['involuntary']:.2f} switches forced"
    return f"{head}{tail}"
