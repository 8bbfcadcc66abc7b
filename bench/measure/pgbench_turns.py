"""The poolers' CPU per transaction, compared in short turns.

A shared machine's speed changes within seconds, and with it what a transaction costs. So all poolers are under load at the same time, but
only one of them at any moment: the others' pgbench is stopped. A pooler's CPU time and transactions are added up over its turns, which are spread
over the same minute as everybody else's.
"""

import re
import signal
import time
from collections.abc import Iterator

from measure import pgbench, results
from measure.pgbench_rounds import can_run, rotated, start_all
from measure.poolers import DIRECT, Contender, Setup, poolers_of, stop
from measure.postgres import PrivatePostgres
from measure.processes import Child, ChildFailed, cost_of
from measure.workplace import Workplace

TURN_S = 0.4
# After its turn a pooler still answers what the stopped clients had asked.
_QUIET_S = 0.02
_QUIET_MAX_S = 2.0
_READY_MAX_S = 60
# Before the first progress line.
_FIRST_S = 1
# finish() ends a run long before.
_RUN_MAX_S = 3600
_TOTAL = re.compile(r"number of transactions actually processed: (\d+)")


class Load:
    """One pgbench, which works only between go() and halt()."""

    def __init__(self, place: Workplace, target: Contender, options: list[str], clients: int):
        self.target = target
        self._worked_s = 0.0
        self._place = place
        self._log = place.path(f"load.{target.name}.log")
        self._log.unlink(missing_ok=True)
        self._before = cost_of(target.pid)
        self._child: Child = pgbench.start(place, target, options, clients, _RUN_MAX_S, self._log)
        try:
            pgbench.wait_for_progress(self._child, _READY_MAX_S)
        finally:
            self.halt()

    def go(self) -> None:
        self._child.popen.send_signal(signal.SIGCONT)

    def take_turn(self) -> None:
        begin = time.monotonic()
        self.go()
        time.sleep(TURN_S)
        self._worked_s += time.monotonic() - begin
        self.halt()

    def halt(self) -> None:
        self._child.popen.send_signal(signal.SIGSTOP)
        self._wait_until_quiet()

    def _wait_until_quiet(self) -> None:
        deadline = time.monotonic() + _QUIET_MAX_S
        spent = None
        while spent != (now := cost_of(self.target.pid).voluntary) and time.monotonic() < deadline:
            spent = now
            time.sleep(_QUIET_S)

    def finish(self) -> dict:
        """Ends pgbench; what its transactions cost, logins and the first second among it, and how many there were in a second of its turns."""
        pgbench.end(self._place, self._child, _READY_MAX_S)
        spent = cost_of(self.target.pid) - self._before
        total = _TOTAL.search(self._log.read_text())
        if not total or int(total[1]) == 0:
            raise ChildFailed("pgbench: no transaction")
        transactions = int(total[1])
        return {"transactions": transactions, "tps": transactions / (_FIRST_S + self._worked_s), "cpu_us": spent.cpu_us / transactions, "voluntary": spent.voluntary / transactions,
                "involuntary": spent.involuntary / transactions}

    def give_up(self) -> None:
        self.go()
        self._place.children.stop(self._child)


def run_in_turns(place: Workplace, wanted: list[tuple[Contender, list[str]]], clients: int, seconds: float) -> dict[str, dict]:
    """Figures by contender, each under pgbench with its own options for `seconds` of turns; or {"error": what went wrong}."""
    loads: list[Load] = []
    try:
        for target, options in wanted:
            loads.append(Load(place, target, options, clients))
        for turn in range(round(seconds / TURN_S)):
            for load in rotated(loads, turn):
                load.take_turn()
        figures = {}
        while loads:
            load = loads.pop()
            try:
                figures[load.target.name] = load.finish()
            except ChildFailed as error:
                figures[load.target.name] = {"error": str(error)}
        return figures
    finally:
        for load in loads:
            load.give_up()


def _run_cell(place: Workplace, running: dict[str, Contender], mode: str, clients: int, seconds: float, step: int) -> dict[str, dict]:
    wanted = []
    for name in rotated([name for name in running if name != DIRECT], step):
        # What has no figure of its own is compared with pgbench -M extended, in the same turns.
        if can_run(name, mode, clients):
            wanted.append((running[name], pgbench.workload(mode)))
        elif mode == "prepared":
            wanted.append((running[name], pgbench.workload("extended")))
    return run_in_turns(place, wanted, clients, seconds)


def measure(place: Workplace, name: str, rounds: int, seconds: float, modes: list[str], clients: list[int]) -> dict:
    """`seconds`: of each pooler in each round, in turns."""
    data = begin(place, rounds, seconds, modes, clients)
    server = PrivatePostgres(place)
    server.start()
    server.initialise_pgbench()
    for _ in in_rounds(place, data, Setup(server.tcp), {}):
        results.save(name, data)
    return data


def begin(place: Workplace, rounds: int, seconds: float, modes: list[str], clients: list[int]) -> dict:
    """Results without any cells."""
    return results.begin(place.programs, rounds=rounds, seconds=seconds, modes=modes, clients=clients, turn_s=TURN_S)


def in_rounds(place: Workplace, data: dict, setup: Setup, further: dict) -> Iterator[int]:
    """Adds cells to `data`, each with `further` in its key; yields after every round."""
    settings = data["settings"]
    running = start_all(place, poolers_of(place.programs), setup, data["refused"])
    step = 0
    for round_number in range(1, settings["rounds"] + 1):
        for mode in settings["modes"]:
            for count in settings["clients"]:
                step += 1
                key = {"round": round_number, **further, "mode": mode, "clients": count}
                for contender, figures in _run_cell(place, running, mode, count, settings["seconds"], step).items():
                    data["cells"].append(key | {"contender": contender} | figures)
                    print(_line(data["cells"][-1]), flush=True)
        yield round_number
    for contender in running.values():
        stop(place, contender)


def _line(cell: dict) -> str:
    head = f"round {cell['round']}  {cell['mode']:9} {cell['clients']:5} clients  {cell['contender']:12}"
    if "error" in cell:
        return f"{head} FAILED: {' '.join(cell['error'].split())[:200]}"
    return f"{head}{cell['transactions']:9} transactions  {cell['cpu_us']:7.2f} us CPU  {cell['involuntary']:.2f} switches forced"
