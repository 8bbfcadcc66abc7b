"""Child processes that never outlive the benchmark, and what a process costs as /proc tells it."""

import ctypes
import os
import pwd
import resource
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ChildFailed(Exception):
    """A child ended, or did not come up, when it should have run, or did not do what it was started for."""


class DidNotStart(ChildFailed):
    """A pooler cannot run here at all (no io_uring, say): there is no use in trying again."""


def raise_open_files() -> None:
    """A thousand clients need a descriptor each, on both sides."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def service_user() -> str | None:
    """PostgreSQL and PgBouncer refuse to run as root: then they, and Bezel too, run as this user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        sys.exit("run as root, this needs the user `postgres` (Debian's postgresql package creates it)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Child:
    def __init__(self, name: str, popen: subprocess.Popen, log: Path, stop_signal: int):
        self.name, self.popen, self.log, self.stop_signal = name, popen, log, stop_signal

    @property
    def pid(self) -> int:
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen.poll() is None

    def log_tail(self, lines: int = 8) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def stop(self, timeout_s: float = 10) -> int:
        """Asks it to end, and kills it when it does not; returns its exit status (negative: the signal)."""
        if self.alive():
            self.popen.send_signal(self.stop_signal)
            try:
                self.popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                print(f"warning: {self.name} ignored its stop signal for {timeout_s:.0f} s and was killed",
                      file=sys.stderr)
                self.popen.kill()
        return self.popen.wait()


class Children:
    """Starts children and ends them, last started first, when the `with` block is left, however it is left."""

    def __init__(self) -> None:
        self._running: list[Child] = []

    def __enter__(self) -> "Children":
        return self

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave half of them running.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            while self._running:
                self.stop(self._running[-1])
        finally:
            signal.signal(signal.SIGINT, previous)

    def start(self, name: str, argv: list[str | Path], log: Path, *, user: str | None = None,
              core: int | None = None, stop_signal: int = signal.SIGTERM, stdout: object = None,
              stderr: object = None, env: dict[str, str] | None = None) -> Child:
        """Output goes to `log` unless `stdout` or `stderr` say otherwise. `core` pins the child to one."""
        parent = os.getpid()

        def before_exec() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)
            if os.getppid() != parent:
                os._exit(1)
            if core is not None:
                os.sched_setaffinity(0, {core})

        with open(log, "ab") as sink:
            identity = {"user": user, "group": user, "extra_groups": []} if user else {}
            popen = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=stdout or sink,
                                     stderr=stderr or sink, start_new_session=True, preexec_fn=before_exec,
                                     cwd="/", env=env, **identity)
        child = Child(name, popen, log, stop_signal)
        self._running.append(child)
        return child

    def stop(self, child: Child) -> int:
        status = child.stop()
        for pipe in (child.popen.stdout, child.popen.stderr):
            if pipe:
                pipe.close()
        self._running.remove(child)
        return status


def wait_for(condition, child: Child, what: str, timeout_s: float = 20, pause_s: float = 0.01):
    """Returns the condition's first true value; raises ChildFailed when the child ends or time is up before."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if not child.alive():
            raise ChildFailed(f"{child.name} ended before {what}:\n{child.log_tail()}")
        if time.monotonic() > deadline:
            raise ChildFailed(f"{child.name}: no {what} within {timeout_s:.0f} s:\n{child.log_tail()}")
        time.sleep(pause_s)


@dataclass(frozen=True)
class Cost:
    """What a process has spent so far: all its threads (switches: of those that live now)."""

    cpu_us: int
    voluntary: int
    involuntary: int

    def __sub__(self, earlier: "Cost") -> "Cost":
        return Cost(self.cpu_us - earlier.cpu_us, self.voluntary - earlier.voluntary,
                    self.involuntary - earlier.involuntary)


def cost_of(pid: int) -> Cost:
    # The command's name stands in parentheses and may hold blanks: count fields from the last ')'.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    switches = {"voluntary_ctxt_switches": 0, "nonvoluntary_ctxt_switches": 0}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except OSError:
            continue  # the thread has just ended
        for line in status.splitlines():
            name, _, value = line.partition(":")
            if name in switches:
                switches[name] += int(value)
    return Cost(ticks * 1_000_000 // _TICKS_PER_SECOND, switches["voluntary_ctxt_switches"],
                switches["nonvoluntary_ctxt_switches"])


def resident_bytes(pid: int) -> int:
    """Resident memory, exactly: smaps_rollup walks the pages, VmRSS of newer kernels is an estimate."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/{pid}/smaps_rollup has no Rss line")
