#!/usr/bin/python3
"""Shows that the guard leaves nothing behind, however a run ends."""

import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from guard import guarded  # noqa: E402
from processes import is_alive  # noqa: E402

WAIT_S_MAX = 20


def leave_a_mess(folder: Path) -> int:
    """As Patroni starts PostgreSQL: an orphan in a session of its own. This one is frozen, too. Then waits, ends or fails as it is told."""
    orphan = subprocess.run(["/bin/sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE, text=True).stdout.strip()
    os.kill(int(orphan), signal.SIGSTOP)
    (folder / "data").mkdir()
    print(folder, orphan, os.getpid(), flush=True)
    if sys.argv[2] == "raise":
        raise RuntimeError("on purpose")
    if sys.argv[2] == "wait":
        time.sleep(600)
    return 3


class Guard(unittest.TestCase):
    def run_and(self, how: str, signal_number: int | None = None, to_worker: bool = False) -> int:
        """Runs this file as a guarded program, ends it, and returns its status when all is gone."""
        program = subprocess.Popen([sys.executable, "-B", __file__, "--mess", how], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(program.stdout.close)
        folder, orphan, worker = program.stdout.readline().split()
        self.assertTrue(is_alive(int(orphan)) or how != "wait")
        if signal_number:
            os.kill(int(worker) if to_worker else program.pid, signal_number)
        status = program.wait(WAIT_S_MAX)
        self.wait_until_gone(Path(folder), int(orphan), int(worker))
        return status

    def wait_until_gone(self, folder: Path, *pids: int) -> None:
        until = time.monotonic() + WAIT_S_MAX
        while folder.exists() or any(is_alive(pid) for pid in pids):
            self.assertLess(time.monotonic(), until, f"{folder} exists: {folder.exists()}, alive: {[pid for pid in pids if is_alive(pid)]}")
            time.sleep(0.05)

    def test_its_own_end(self) -> None:
        self.assertEqual(self.run_and("end"), 3)

    def test_an_exception(self) -> None:
        self.assertEqual(self.run_and("raise"), 1)

    def test_signals(self) -> None:
        self.assertEqual(self.run_and("wait", signal.SIGINT), 130)
        self.assertEqual(self.run_and("wait", signal.SIGTERM), 143)

    def test_sigkill(self) -> None:
        self.assertEqual(self.run_and("wait", signal.SIGKILL), -signal.SIGKILL)

    def test_sigkill_of_the_worker(self) -> None:
        self.assertEqual(self.run_and("wait", signal.SIGKILL, to_worker=True), 137)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--mess"]:
        sys.exit(guarded(leave_a_mess))
    unittest.main()
