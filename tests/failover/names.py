"""The cluster's name in DNS, which leads to the leader some time after it has become that, as a managed database's name does."""

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from processes import Failed, start, write_own

NAME = "primary.jewelry.test"
TTL_S = 1
# About what a good provider takes.
DELAY_S = 0.5
POLL_S = 0.1
START_S_MAX = 10


class Names:
    """Served by tests/fake_dns, from start() on; silence() and whatever else an event does to it is undone by restore()."""

    def __init__(self, program: Path, folder: Path, leader_address: Callable[[], str | None]):
        """`leader_address` may raise OSError: then the name stays as it is."""
        # How long after a change of the leader the name still leads to the old one.
        self.delay_s = DELAY_S
        self._program = program
        self._folder = folder
        self._leader_address = leader_address
        self._lock = threading.Lock()
        self._shown = threading.Event()
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns when the name leads to a leader."""
        self._process = start([self._program], self._folder, self._folder / "names.log", as_service=False, talks=True)
        port = int(self._process.stdout.readline())
        self.resolv_conf = write_own(self._folder / "resolv.conf", f"nameserver 127.0.0.1:{port}\n")
        threading.Thread(target=self._follow, daemon=True).start()
        if not self._shown.wait(START_S_MAX):
            raise Failed("the name leads to no leader")

    def silence(self) -> None:
        self._tell("silence")

    def speak(self) -> None:
        self._tell("speech")

    def restore(self) -> None:
        self.delay_s = DELAY_S
        self.speak()

    def _follow(self) -> None:
        shown, seen, changed = None, None, 0.0
        while True:
            try:
                leader = self._leader_address()
            except OSError:
                leader = None
            if leader and leader != seen:
                seen, changed = leader, time.monotonic()
            if seen != shown and (shown is None or time.monotonic() - changed >= self.delay_s):
                self._tell(f"a {NAME} {seen} {TTL_S}")
                shown = seen
                self._shown.set()
            time.sleep(POLL_S)

    def _tell(self, line: str) -> None:
        with self._lock:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline().strip()
        if answer != "ok":
            raise Failed(f"the DNS server answers \"{line}\" with \"{answer}\"")
