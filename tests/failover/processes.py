"""Processes: as whom they run, which belong to which, signals to all of them at once."""

import os
import pwd
import signal
import subprocess
import time
from pathlib import Path

POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
_STOP_S_MAX = 5


class Failed(Exception):
    """The harness could not do its work; says nothing about the pooler."""


def service_user() -> str | None:
    """PostgreSQL, Patroni and PgBouncer refuse to run as root, or should: then they run as this user."""
    return "postgres" if os.geteuid() == 0 else None


def own(path: Path) -> Path:
    """Gives a path to the service user."""
    if user := service_user():
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)
    return path


def write_own(path: Path, text: str) -> Path:
    """A file that only the service user can read: it holds passwords."""
    with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
    return own(path)


def make_folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return own(path)


def environment(home: Path) -> dict[str, str]:
    """Without what libpq, Patroni or Python would take from the person who runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PATRONI", "ETCD", "PYTHON")) and not name.lower().endswith("_proxy")}
    return kept | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def start(argv: list[object], folder: Path, log: Path, *, prefix: list[str] = [], as_service: bool = True, talks: bool = False) -> subprocess.Popen:
    """Starts a program in the folder, in a session of its own, output appended to the log. `prefix` is a command that execs its arguments
    as root; the user changes after it. `talks`: standard input and output are pipes for lines."""
    identity = []
    if as_service and (user := service_user()):
        identity = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    with open(log, "ab") as sink:
        return subprocess.Popen([*prefix, *identity, *map(str, argv)], stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                                stdout=subprocess.PIPE if talks else sink, stderr=sink, cwd=folder, env=environment(folder), text=talks,
                                start_new_session=True)


def tail(path: Path, lines: int = 40) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


def _parents() -> dict[int, int]:
    """All processes that are not zombies, with their parents."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The command's name stands in parentheses and may hold blanks.
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                parents[int(entry.name)] = int(parent)
    return parents


def descendants(*roots: int) -> list[int]:
    """The processes below the roots, without them; parents before their children."""
    parents = _parents()
    found = list(roots)
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid and child not in found)
    return found[len(roots):]


def is_alive(pid: int) -> bool:
    return pid in _parents()


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def kill_trees(*roots: int) -> None:
    """Kills the roots and all below them, as a crash of the machine would: all before any can react. Returns when they are gone."""
    until = time.monotonic() + _STOP_S_MAX
    while left := [pid for pid in [*roots, *descendants(*roots)] if is_alive(pid)]:
        signal_all(left, signal.SIGKILL)
        if time.monotonic() > until:
            raise Failed(f"processes {left} do not die")
        time.sleep(0.01)


def stop_trees(*roots: int) -> list[int]:
    """SIGSTOPs the roots and all below them, parents first so that none has new children; returns them."""
    stopped: list[int] = []
    while new := [pid for pid in [*roots, *descendants(*roots)] if pid not in stopped and is_alive(pid)]:
        signal_all(new, signal.SIGSTOP)
        stopped.extend(new)
    return stopped
