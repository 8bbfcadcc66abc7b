#!/usr/bin/python3
"""Checks that the measuring tools can be trusted: every transaction is counted once, and what is wrong is seen."""

import argparse
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import report, results, scram  # noqa: E402
from measure.pgbench import Progress, _summarise  # noqa: E402
from measure.poolers import BYTE_RELAY, DIRECT, Contender, Setup, start, stop  # noqa: E402
from measure.processes import Cost, cost_of, free_port, resident_bytes  # noqa: E402
from measure.tools import events_of, generate_load, generator_command, hold_clients, start_null_server  # noqa: E402
from measure.workplace import ROOT, Programs, Workplace  # noqa: E402

BUILD = ROOT / "build" / "release"


class Tools(unittest.TestCase):
    def setUp(self) -> None:
        self.place = Workplace(Programs(BUILD, None, None))
        self.place.__enter__()
        self.addCleanup(self.place.__exit__, None, None, None)

    def summary_of(self, server) -> dict:
        self.assertEqual(self.place.children.stop(server.child), 0)
        return server.events()[-1]

    def check_exact(self, result: dict, clients: int, each: int) -> None:
        self.assertEqual(result["errors"], 0, result)
        self.assertEqual(result["transactions"], clients * each)
        self.assertEqual(result["window_transactions"], clients * each)
        self.assertEqual(result["latency_us"]["count"], clients * each)
        self.assertGreaterEqual(result["latency_us"]["max"], result["latency_us"]["p50"])

    def test_null_server_counts_what_the_generator_counts(self) -> None:
        for transport in ("tcp", "unix"):
            for mode in ("simple", "extended", "prepared"):
                with self.subTest(transport=transport, mode=mode):
                    server = start_null_server(self.place)
                    upstream = getattr(server, transport)
                    result = generate_load(self.place, Contender(DIRECT, upstream.host, upstream.port), mode, 40, "--transactions", 50)
                    self.check_exact(result, 40, 50)
                    summary = self.summary_of(server)
                    self.assertEqual(summary["statements"], 40 * 50)
                    self.assertEqual(summary["replies"], 40 * 50 + (40 if mode == "prepared" else 0))
                    self.assertEqual(summary["logins"], 40)

    def test_byte_relay_end_to_end(self) -> None:
        for transport in ("tcp", "unix"):
            for mode in ("simple", "extended"):
                with self.subTest(transport=transport, mode=mode):
                    server = start_null_server(self.place)
                    relay = start(self.place, BYTE_RELAY, Setup(getattr(server, transport)))
                    result = generate_load(self.place, relay, mode, 200, "--transactions", 20, "--watch-pid", relay.pid)
                    self.check_exact(result, 200, 20)
                    self.assertGreater(result["watched"]["voluntary_switches"], 0)
                    self.assertEqual(self.place.children.stop(relay.child), 0)
                    summary = self.summary_of(server)
                    self.assertEqual((summary["logins"], summary["statements"]), (25, 200 * 20))

    def test_errors_are_seen(self) -> None:
        server = start_null_server(self.place)
        direct = Contender(DIRECT, server.tcp.host, server.tcp.port)
        result = generate_load(self.place, direct, "simple", 3, "--transactions", 5, "--query", "nonsense")
        self.assertEqual((result["errors"], result["transactions"]), (15, 0))
        self.assertIn("42601", result["first_error"])
        # More clients than servers: two of them must prepare the same name on one server.
        relay = start(self.place, BYTE_RELAY, Setup(server.tcp))
        mixed_up = generate_load(self.place, relay, "prepared", 60, "--transactions", 2)
        self.assertIn("42P05", mixed_up["first_error"])
        stop(self.place, relay)
        nobody = Contender(DIRECT, "127.0.0.1", free_port())
        failed = subprocess.run(generator_command(self.place, nobody, "simple", 2, "--transactions", 1), capture_output=True, text=True, timeout=60)
        self.assertEqual(failed.returncode, 1)
        self.assertEqual(events_of(failed.stdout)[-1]["lost"], 2)

    def test_a_lost_server_is_an_error(self) -> None:
        server = start_null_server(self.place)
        log = self.place.path("load_generator.log")
        target = Contender(DIRECT, server.tcp.host, server.tcp.port)
        load = self.place.children.start("load", generator_command(self.place, target, "idle", 20, "--seconds", 60), log)
        while not events_of(log.read_text()):
            self.assertTrue(load.alive(), load.log_tail())
        self.place.children.stop(server.child)
        self.assertEqual(load.popen.wait(30), 1)
        self.assertGreater(events_of(log.read_text())[-1]["lost"], 0)

    def test_arrival_and_delays(self) -> None:
        server = start_null_server(self.place, None, "--login-delay-ms", 5, "--query-delay-ms", 3, "--report-logins")
        result = generate_load(self.place, Contender(DIRECT, server.tcp.host, server.tcp.port), "arrive", 300)
        self.assertEqual((result["errors"], result["transactions"], result["logged_in"]), (0, 300, 300))
        self.assertGreaterEqual(result["all_answered_us"], 8000)
        logins = [event for event in server.events() if event["event"] == "login"]
        self.assertEqual([event["count"] for event in logins], list(range(1, 301)))
        self.assertGreaterEqual(logins[0]["monotonic_ns"] - result["start_monotonic_ns"], 5_000_000)

    def test_logins_are_counted(self) -> None:
        server = start_null_server(self.place)

        def log_in(port: int, *how: str) -> dict:
            argv = [sys.executable, "-B", ROOT / "bench" / "login_load.py", "--port", str(port), *how]
            return json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout)

        paced = log_in(server.tcp.port, "--rate", "100", "--seconds", "1")
        self.assertEqual(paced["errors"], 0, paced)
        self.assertTrue(0 < paced["logins"] <= 100, paced)
        storms = log_in(server.tcp.port, "--at-once", "150", "--seconds", "0.5")
        self.assertEqual((storms["errors"], storms["logins"] % 150), (0, 0), storms)
        self.assertEqual(self.summary_of(server)["logins"], paced["logins"] + storms["logins"])
        nobody = log_in(free_port(), "--at-once", "3", "--seconds", "0.2")
        self.assertEqual((nobody["logins"], nobody["errors"] % 3), (0, 0))
        self.assertIn("refused", nobody["first_error"])

    def test_idle_clients_are_held(self) -> None:
        server = start_null_server(self.place)
        holder = hold_clients(self.place, Contender(DIRECT, server.unix.host, server.unix.port), 100, transactions=1)
        self.assertGreater(resident_bytes(server.child.pid), 0)
        self.assertGreaterEqual(cost_of(server.child.pid).voluntary, 1)
        self.assertEqual(self.place.children.stop(holder), 0)
        summary = self.summary_of(server)
        self.assertEqual((summary["logins"], summary["statements"]), (100, 100))

    def test_nothing_is_left_behind(self) -> None:
        server = start_null_server(self.place)
        relay = start(self.place, BYTE_RELAY, Setup(server.tcp))
        self.place.__exit__(None, None, None)
        self.assertFalse(server.child.alive() or relay.child.alive())
        self.assertFalse(self.place.folder.exists())


class NullServerSpeaksPostgres(unittest.TestCase):
    """psql as a client that is not ours."""

    def test_psql(self) -> None:
        with Workplace(Programs(BUILD, None, None)) as place:
            server = start_null_server(place)
            shown = subprocess.run(
                [place.programs.postgres_bin / "psql", "-X", "-A", "-t", "-h", server.tcp.host, "-p", str(server.tcp.port), "-U", "bench", "bench"],
                input="select 1;\nset application_name = 'it''s';\n\\echo :SERVER_VERSION_NAME\nbegin;\nnonsense;\nselect 1;\nrollback;\nselect 1\\; select 1;\n",
                capture_output=True, text=True, timeout=30)
        self.assertEqual(shown.stdout.split(), ["1", "SET", "15.0", "BEGIN", "ROLLBACK", "1", "1"])
        self.assertEqual(re.findall("ERROR: +(.*)", shown.stderr),
                         ["syntax error", "current transaction is aborted, commands ignored until end of transaction block"])


class Scram(unittest.TestCase):
    def test_the_example_of_rfc_7677(self) -> None:
        exchange = scram.Exchange("pencil", "rOprNGfwEbeRWgbNEkqO", "user")
        self.assertEqual(exchange.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        self.assertEqual(exchange.final(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
                         b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        self.assertTrue(exchange.is_proved(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="))
        self.assertFalse(exchange.is_proved(b"v=AAriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="))


class Figures(unittest.TestCase):
    def test_only_what_lies_between_the_progress_lines_counts(self) -> None:
        lines = [Progress(10.0, 999.0, Cost(5_000, 1, 1)), Progress(11.0, 100.0, Cost(7_000, 11, 1)), Progress(13.0, 50.0, Cost(9_000, 21, 5))]
        summary = _summarise(lines)
        self.assertEqual(summary["transactions"], 200)
        self.assertAlmostEqual(summary["tps"], 200 / 3)
        self.assertAlmostEqual(summary["cpu_us"], 20)
        self.assertAlmostEqual(summary["voluntary"], 0.1)
        self.assertAlmostEqual(summary["involuntary"], 0.02)

    def test_ratios_are_taken_within_a_round(self) -> None:
        def cell(number: int, contender: str, mode: str, cpu_us: float) -> dict:
            return {"round": number, "mode": mode, "clients": 50, "contender": contender, "cpu_us": cpu_us}

        cells = results.Cells([cell(1, "pgbouncer", "extended", 10), cell(2, "pgbouncer", "extended", 40), cell(1, "bezel", "prepared", 5),
                               cell(2, "bezel", "prepared", 20), cell(3, "bezel", "prepared", 1),
                               cell(1, "bezel", "prepared", 999) | {"error": "lost"}])
        key = {"mode": "prepared", "clients": 50, "contender": "bezel"}
        self.assertEqual(cells.ratio("cpu_us", key, results.base_of(key)), 0.5)
        self.assertEqual(cells.median("cpu_us", **key), 5)
        self.assertIsNone(cells.ratio("cpu_us", key, key | {"contender": "nobody"}))

    def test_verdicts(self) -> None:
        self.assertEqual(report.against(0.62, 0.62), "0.62 ✓")
        self.assertEqual(report.against(0.63, 0.62), "**0.63** ✗")
        self.assertEqual(report.against(0.5, None), "0.50")
        self.assertEqual(report.against(None, 0.62), "–")
        self.assertEqual(report.judged([0.5, 0.7, 0.6], 0.62), "0.60 ✓ (0.50–0.70)")
        self.assertEqual(report.worst_fill([{"pool_full_ms": 90}, {"pool_full_ms": 120}], 100), "**120** ✗")
        self.assertEqual(report.worst_fill([{"pool_full_ms": 90}, {"pool_full_ms": None}], 100), "**not full in 1 of 2 rounds** ✗")

    def test_the_page_has_a_place_for_the_report(self) -> None:
        page = report.PAGE.read_text()
        self.assertEqual((page.count(report.BEGIN), page.count(report.END)), (1, 1))
        self.assertLess(page.index(report.BEGIN), page.index(report.END))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-dir", type=Path, default=BUILD)
    arguments, rest = parser.parse_known_args()
    BUILD = arguments.build_dir.resolve()
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)
