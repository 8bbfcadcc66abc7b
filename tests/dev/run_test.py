#!/usr/bin/python3
"""`./dev run` for real: it starts PostgreSQL and Bezel, its lines can be pasted, and whatever ends it leaves nothing."""

import argparse
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

LONG_ENOUGH_S = 60  # nothing is asserted about time; this only ends a test that hangs
DEV = BEZEL = None


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"} | more


def processes_in(folder: Path) -> list[str]:
    """The processes that work in the folder or have been given one of its files."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            if str(folder) in command or os.readlink(process / "cwd").startswith(str(folder)):
                found.append(f"{process.name}: {command}")
        except OSError:
            pass  # it has ended, or is not ours to look at
    return found


class Run:
    """One `./dev run`, in a session of its own as in a terminal, with a temporary folder of its own."""

    def __init__(self, folder: Path, bezel: str, *arguments: str, cwd: str = "/"):
        self._folder = folder
        self.process = subprocess.Popen(
            [DEV, "run", *arguments], cwd=cwd, env=environment(TMPDIR=str(folder), DEV_BEZEL=bezel), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self._lines = queue.Queue()
        self.output = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def line(self, *words: str) -> str:
        """Reads on up to the line that holds all the words."""
        deadline = time.monotonic() + LONG_ENOUGH_S
        while (line := self._lines.get(timeout=max(0, deadline - time.monotonic()))) is not None:
            self.output.append(line)
            if all(word in line for word in words):
                return line
        raise AssertionError(f"no line with {words} in:\n{''.join(self.output)}")

    def psql_arguments(self, what: str) -> list[str]:
        """The psql line that is printed for the database or the console, as a shell would take it apart."""
        words = shlex.split(self.line(f"  {what} ", "psql"))
        assert words[:2] == [what, "psql"], words
        return words[1:]

    def bezel_pid(self) -> int:
        own = [line for line in processes_in(self._folder) if "bezel.yaml" in line and "dev run" not in line]
        assert len(own) == 1, own
        return int(own[0].split(":")[0])

    def end(self, number: int | None = None) -> int:
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=LONG_ENOUGH_S)
        while (line := self._lines.get(timeout=LONG_ENOUGH_S)) is not None:
            self.output.append(line)
        return status

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def psql(arguments: list[str], sql: str) -> str:
    done = subprocess.run([*arguments, "-X", "-A", "-t", "-c", sql], env=environment(), text=True, timeout=LONG_ENOUGH_S,
                          capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"psql failed: {done.stderr}")
    return done.stdout.strip()


class PrivateServer(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dev-", dir="/tmp"))
        self.folder.chmod(0o777)  # the user that PostgreSQL runs as comes through here
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, bezel: str | None = None) -> Run:
        run = Run(self.folder, bezel or BEZEL)
        self.addCleanup(run.kill)
        return run

    def check_nothing_left(self, run: Run) -> None:
        self.assertEqual(processes_in(self.folder), [], "".join(run.output))
        self.assertEqual(list(self.folder.iterdir()), [], "".join(run.output))

    def test_lines_can_be_pasted_and_ctrl_c_ends_all(self) -> None:
        run = self.start()
        database, console = run.psql_arguments("database"), run.psql_arguments("console")
        self.assertEqual(psql(database, "SELECT current_user || ' in ' || current_database()"), "app in app")
        stored = psql(console, "SHOW CONFIG")
        self.assertIn("auth_type|scram-sha-256|", stored)
        self.assertIn("app|app|", psql(console, "SHOW POOLS"))
        userlist = next(self.folder.iterdir()) / "userlist.txt"
        self.assertIn('"app" "SCRAM-SHA-256$', userlist.read_text())
        self.assertEqual(userlist.stat().st_mode & 0o077, 0)
        self.assertTrue(processes_in(self.folder))  # or the check at the end could not find anything
        self.assertEqual(run.end(signal.SIGINT), 0, "".join(run.output))
        self.assertIn("bezel has ended", "".join(run.output))
        self.check_nothing_left(run)

    def test_sigterm_ends_all(self) -> None:
        run = self.start()
        run.psql_arguments("console")
        self.assertEqual(run.end(signal.SIGTERM), 0)
        self.check_nothing_left(run)

    def test_second_ctrl_c_does_not_wait_for_a_transaction(self) -> None:
        run = self.start()
        database = run.psql_arguments("database")
        client = subprocess.Popen([*database, "-X", "-A", "-t"], env=environment(), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.addCleanup(client.wait, LONG_ENOUGH_S)
        self.addCleanup(client.stdout.close)
        with client.stdin as commands:
            print("BEGIN; SELECT 'in it';", file=commands, flush=True)
            while client.stdout.readline().strip() != "in it":
                self.assertIsNone(client.poll())
            run.process.send_signal(signal.SIGINT)
            run.line("got Interrupt")
            self.assertEqual(run.end(signal.SIGINT), 0, "".join(run.output))
        self.check_nothing_left(run)

    def test_interrupted_while_starting(self) -> None:
        run = self.start()
        deadline = time.monotonic() + LONG_ENOUGH_S
        while not list(self.folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.005)
        self.assertEqual(run.end(signal.SIGINT), 0)
        self.check_nothing_left(run)

    def test_shutdown_from_the_console(self) -> None:
        run = self.start()
        console = run.psql_arguments("console")
        subprocess.run([*console, "-X", "-c", "SHUTDOWN"], env=environment(), capture_output=True, check=False)
        self.assertEqual(run.end(), 0)
        self.check_nothing_left(run)

    def test_killed_bezel(self) -> None:
        run = self.start()
        run.psql_arguments("console")
        os.kill(run.bezel_pid(), signal.SIGKILL)
        self.assertEqual(run.end(), 1)
        self.check_nothing_left(run)

    def test_bezel_that_does_not_start(self) -> None:
        run = self.start("/bin/false")
        self.assertEqual(run.end(), 1)
        self.assertIn("Bezel has ended at once", "".join(run.output))
        self.check_nothing_left(run)

    def test_killed_script_takes_its_processes_along(self) -> None:
        run = self.start()
        run.psql_arguments("console")
        run.process.kill()
        deadline = time.monotonic() + LONG_ENOUGH_S
        while processes_in(self.folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(processes_in(self.folder), [])


class GivenConfiguration(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dev-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder)

    def run_with(self, text: str) -> Run:
        (self.folder / "given.yaml").write_text(text)
        run = Run(self.folder, BEZEL, "given.yaml", cwd=str(self.folder))
        self.addCleanup(run.kill)
        return run

    def test_is_found_from_the_callers_folder_and_ends_by_ctrl_c(self) -> None:
        run = self.run_with('listen_addr: ""\nunix_socket_dir: "%s"\nauth_type: any\n'
                            'databases: {a: host=127.0.0.1 user=a}\n' % self.folder)
        run.line("serves with")
        self.assertEqual(run.end(signal.SIGINT), 0)

    def test_errors_are_shown(self) -> None:
        run = self.run_with("listen_prt: 1\n")
        self.assertNotEqual(run.end(), 0)
        self.assertIn("listen_prt", "".join(run.output))


class Commands(unittest.TestCase):
    def test_unknown_command(self) -> None:
        done = subprocess.run([DEV, "frobnicate"], text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('no command "frobnicate"', done.stderr)


def main() -> None:
    global DEV, BEZEL
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", required=True)
    parser.add_argument("--bezel", required=True)
    arguments, rest = parser.parse_known_args()
    DEV, BEZEL = arguments.dev, arguments.bezel
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
