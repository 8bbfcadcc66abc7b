"""Runs the tests in a child, and leaves nothing of them behind, whatever happens to it.

PostgreSQL outlives the Patroni that started it, so ends of pipes and parents do not end it. The guard is a process that adopts every orphan
of its children (a "subreaper"): all that the tests ever start is among its descendants. When the child ends, or the guard is told to end, it
kills all of them, removes the network namespaces and the folder. It also reaps, where a container's first process does not: Patroni takes a
zombie for a living PostgreSQL.
"""

import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import network
from processes import descendants

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)
_END_S_MAX = 15
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal told the guard to end."""


def guarded(main: Callable[[Path], int], keep_folder: bool = False) -> int:
    """Runs main(folder) in a child of a guard and returns its exit status, or 128 plus the signal that ended it or us.

    The guard is a child too, so that it can still clean up when we are killed.
    """
    caller = os.getpid()
    guard = os.fork()
    if guard == 0:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        os._exit(_guard(main, keep_folder) if os.getppid() == caller else 1)
    for number in _ENDING:
        signal.signal(number, lambda number, _frame: os.kill(guard, number))
    _, status = os.waitpid(guard, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _guard(main: Callable[[Path], int], keep_folder: bool) -> int:
    for number in _ENDING:
        signal.signal(number, _end)
    folder = Path(tempfile.mkdtemp(prefix="bezel-failover-", dir="/tmp"))  # short: PostgreSQL's paths are limited
    folder.chmod(0o711)  # the servers' user gets through to its own data
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    status = 1
    try:
        status = _wait_for(_start(main, folder))
    except Ended as error:
        status = 128 + error.args[0]
    finally:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        _kill_all()
        network.remove_all(os.getpid())
        if keep_folder:
            print(f"the folder is kept: {folder}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return status


def _end(number: int, _frame: object) -> None:
    raise Ended(number)


def _start(main: Callable[[Path], int], folder: Path) -> int:
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        # The terminal's Ctrl-C is for the guard. Without the guard there is nobody to clean up after us.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == guard:
            status = main(folder)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait_for(child: int) -> int:
    """Reaps all, and returns when the child has ended."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _kill_all() -> None:
    until = time.monotonic() + _END_S_MAX
    while (left := descendants(os.getpid())) and time.monotonic() < until:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        time.sleep(0.02)
    if left:
        print(f"warning: these processes could not be killed: {left}", file=sys.stderr)
