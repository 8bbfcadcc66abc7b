"""One run of pgbench, with what it cost the pooler while all clients were at work."""

import os
import re
import selectors
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from measure.poolers import DATABASE, PASSWORD, USER, Contender
from measure.processes import Child, ChildFailed, Cost, cost_of
from measure.workplace import Workplace

# The share of transactions whose latency is logged: thousands a run, and little work for pgbench.
_LOG_SHARE = 0.25
# Beyond its own time: a thousand logins, and a slow pooler's last answers.
_GRACE_S = 60

_PROGRESS = re.compile(rb"progress: (?P<at>[0-9.]+) s, (?P<tps>[0-9.]+) tps")


@dataclass(frozen=True)
class Progress:
    """A line of pgbench's progress, and the pooler's cost when it came. The first marks the begin of what counts."""

    at: float  # seconds since 1970
    tps: float  # since the line before
    cost: Cost | None


def workload(mode: str) -> list[str]:
    """pgbench's options for a mode of the comparison."""
    if mode == "tpcb":
        return ["-b", "tpcb-like", "-M", "simple"]
    return ["-b", "select-only", "-M", mode]


def start(place: Workplace, target: Contender, options: list[str | Path], clients: int, seconds: int, log: Path) -> Child:
    """pgbench with its progress on the pipe `stderr` and its summary in `log`."""
    argv = [place.programs.pgbench(), "-h", target.host, "-p", target.port, "-U", USER, "-n", "-c", clients, "-j", 2,
            "-T", seconds, "-P", 1, *options, DATABASE]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"PGPASSWORD": PASSWORD}
    if target.tls:
        environment["PGSSLMODE"] = "require"
    return place.children.start("pgbench", argv, log, stderr=subprocess.PIPE, env=environment)


def wait_for_progress(child: Child, timeout_s: float) -> None:
    """Returns with the first progress line: all clients have logged in, and work."""
    with selectors.DefaultSelector() as selector:
        selector.register(child.popen.stderr, selectors.EVENT_READ)
        deadline = time.monotonic() + timeout_s
        said = b""
        while b"progress:" not in said:
            data = os.read(child.popen.stderr.fileno(), 65536) if selector.select(max(0, deadline - time.monotonic())) else b""
            if not data:
                raise ChildFailed(f"pgbench does not get going: {said.decode(errors='replace')}")
            said = (said + data)[:10_000]


def end(place: Workplace, child: Child, timeout_s: float) -> None:
    """Ends a run, also one that is stopped (SIGSTOP), as the time of -T does; its log has the summary then."""
    child.popen.send_signal(signal.SIGALRM)
    child.popen.send_signal(signal.SIGCONT)
    try:
        _, said = child.popen.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ChildFailed("pgbench did not end in time") from None
    finally:
        place.children.stop(child)
    if child.popen.returncode != 0:
        raise ChildFailed(f"pgbench ended with status {child.popen.returncode}: {said.decode(errors='replace')[-300:]}")


def run(place: Workplace, target: Contender, options: list[str], clients: int, seconds: int, latencies: bool = True) -> dict:
    """Runs pgbench for some seconds. The first second, and with it logins and the filling of the pool, does not count.

    Returns tps, transactions, p50_us and p99_us (with `latencies`), and with a pooler also cpu_us, voluntary and involuntary switches, per
    transaction. Raises ChildFailed when pgbench fails or a client is lost.
    """
    log = place.path("pgbench.log")
    prefix = place.path("latency")
    further = ["--progress-timestamp", *options]
    if latencies:
        further += ["-l", f"--log-prefix={prefix}", f"--sampling-rate={_LOG_SHARE}"]
    child = start(place, target, further, clients, seconds, log)
    try:
        progress, messages = _follow(child.popen, target.pid, time.monotonic() + seconds + _GRACE_S)
    finally:
        status = place.children.stop(child)
    if status != 0:
        raise ChildFailed(f"pgbench ended with status {status}: {messages.decode(errors='replace')}")
    failed = re.search(r"number of failed transactions: (\d+)", log.read_text())
    if failed and int(failed[1]) > 0:
        raise ChildFailed(f"pgbench: {failed[1]} failed transactions")
    if len(progress) < 2:
        raise ChildFailed(f"pgbench was too slow to report its progress within {seconds} s")
    summary = _summarise(progress)
    return summary | quantiles(latencies_in(prefix), progress[0].at, progress[-1].at) if latencies else summary


def _follow(popen: subprocess.Popen, pid: int | None, deadline: float) -> tuple[list[Progress], bytes]:
    """Reads pgbench's messages as they come, so that the pooler's cost is read at the very moment of each progress line."""
    progress: list[Progress] = []
    messages = b""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(popen.stderr, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0, deadline - time.monotonic())):
                raise ChildFailed("pgbench did not end in time")
            data = os.read(popen.stderr.fileno(), 65536)
            if not data:
                return progress, messages
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                if found := _PROGRESS.search(line):
                    cost = cost_of(pid) if pid else None
                    progress.append(Progress(float(found["at"]), float(found["tps"]), cost))
                else:
                    messages = (messages + line + b"\n")[:1000]


def _summarise(progress: list[Progress]) -> dict:
    transactions = sum(now.tps * (now.at - before.at) for before, now in zip(progress, progress[1:]))
    seconds = progress[-1].at - progress[0].at
    if transactions <= 0:
        raise ChildFailed("pgbench: no transaction in the measured time")
    summary = {"transactions": round(transactions), "seconds": round(seconds, 3), "tps": transactions / seconds}
    if progress[0].cost and progress[-1].cost:
        spent = progress[-1].cost - progress[0].cost
        summary |= {
            "cpu_us": spent.cpu_us / transactions,
            "voluntary": spent.voluntary / transactions,
            "involuntary": spent.involuntary / transactions,
        }
    return summary


def latencies_in(prefix: Path) -> list[tuple[float, int]]:
    """The logged transactions: when each ended, in seconds since 1970, and how many us it took. Takes the files away."""
    latencies = []
    for path in prefix.parent.glob(prefix.name + ".*"):  # a file a thread
        with open(path) as file:
            for line in file:
                fields = line.split()  # client, number, latency, script, s, us
                if fields[2].isdigit():
                    latencies.append((int(fields[4]) + int(fields[5]) / 1e6, int(fields[2])))
        path.unlink()
    return latencies


def quantiles(latencies: list[tuple[float, int]], begin: float, end: float) -> dict:
    """Of those that ended between the two."""
    counted = [latency for ended, latency in latencies if begin <= ended <= end]
    if len(counted) < 100:
        raise ChildFailed(f"pgbench logged only {len(counted)} transactions: too few for a 99th percentile")
    cuts = statistics.quantiles(counted, n=100)
    return {"p50_us": cuts[49], "p99_us": cuts[98], "latencies_logged": len(counted)}
