#!/usr/bin/python3
"""Measures Bezel against PgBouncer. See docs/performance.md for how, and for what the figures mean."""

import argparse
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import footprint, logins, null_rounds, pgbench_turns, report, tls  # noqa: E402
from measure.pgbench_rounds import Comparison  # noqa: E402
from measure.processes import ChildFailed  # noqa: E402
from measure.workplace import ROOT, Workplace, find_programs  # noqa: E402

QUICK_LIMIT_S = 285
FULL_CLIENTS = [50, 500, 1000]

DESCRIPTION = """\
what to measure:
  quick    pgbench -S at 50 and 1000 clients in two short rounds, memory, start-up, pool fill; under 5 minutes (default)
  cpu      CPU per transaction, pgbench -S at 50, 500 and 1000 clients; all poolers in turns of less than a second; about 15 minutes
  full     pgbench -S simple, extended, prepared and TPC-B at 50, 500 and 1000 clients, 5 rounds; about 25 minutes
  null     the poolers alone on one core, in front of a server that does no work; with a byte relay as the floor; about 20 minutes
  memory   resident memory with 0, 1000 and 3000 idle clients, and with 200 and 1000 by TLS
  startup  time from the start of the process to the first answered login
  fill     1000 clients arrive at once: time until the pool is full, and until all are answered
  login    CPU of a login: trust, md5, SCRAM with a verifier and with a plain password, SCRAM by TLS; about 6 minutes
  tls      CPU per transaction as for cpu, by TLS; and latency of queries while others log in: 500 TLS handshakes a second, 1000 SCRAM
           logins at once; about 20 minutes
  all      all of these but quick
  report   writes the tables and the plot into docs/ from the results there are (bench/results/*.json)
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, epilog=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["quick"], metavar="WHAT", help="see below; several may be named")
    parser.add_argument("--build-dir", type=Path, default=ROOT / "build" / "release", help="where bezel and the target `bench` were built")
    parser.add_argument("--bezel", type=Path, help="the Bezel to measure (default: of the build folder)")
    parser.add_argument("--rounds", type=int, help="rounds of cpu (3), full (5), null (3), login (3), tls (3), quick (2)")
    parser.add_argument("--seconds", type=int, help="seconds of each run, the first of which does not count (cpu, full, tls: 6, others: 4)")
    parser.add_argument("--clients", type=int, nargs="+", help="numbers of clients of cpu, full, null and tls (50 500 1000)")
    parser.add_argument("--modes", nargs="+", choices=["simple", "extended", "prepared", "tpcb"], help="modes of cpu, full (all) and tls (simple)")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - set(MEASUREMENTS) - {"all", "report"}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; see --help")
    for name in ("rounds", "seconds"):
        value = getattr(arguments, name)
        if value is not None and not 1 <= value <= 3600:
            parser.error(f"--{name} must be 1 to 3600")
    if arguments.seconds is not None and arguments.seconds < 3:
        parser.error("--seconds must be at least 3: the first second does not count")
    return arguments


def measure_quick(place: Workplace, given: argparse.Namespace) -> None:
    deadline = time.monotonic() + QUICK_LIMIT_S - 45  # what the three short ones take
    modes = ["simple", "extended", "prepared"]
    Comparison(place, "quick", given.rounds or 2, given.seconds or 4, modes, [50, 1000], deadline).run()
    footprint.measure_memory(place)
    footprint.measure_startup(place)
    footprint.measure_fill(place)


def measure_full(place: Workplace, given: argparse.Namespace) -> None:
    modes = given.modes or ["simple", "extended", "prepared", "tpcb"]
    Comparison(place, "full", given.rounds or 5, given.seconds or 6, modes, given.clients or FULL_CLIENTS, None).run()


def measure_cpu(place: Workplace, given: argparse.Namespace) -> None:
    modes = given.modes or ["simple", "extended", "prepared"]
    pgbench_turns.measure(place, "cpu", given.rounds or 3, given.seconds or 6, modes, given.clients or FULL_CLIENTS)


def measure_null(place: Workplace, given: argparse.Namespace) -> None:
    null_rounds.measure(place, "null", given.rounds or 3, given.seconds or 4, given.clients or FULL_CLIENTS)


def measure_login(place: Workplace, given: argparse.Namespace) -> None:
    logins.measure(place, given.rounds or 3, given.seconds or 4)


def measure_tls(place: Workplace, given: argparse.Namespace) -> None:
    tls.measure_cpu(place, given.rounds or 3, given.seconds or 6, given.modes or ["simple"], given.clients or FULL_CLIENTS)
    tls.measure_crowds(place, given.rounds or 3, given.seconds or 6)


MEASUREMENTS = {
    "quick": measure_quick,
    "cpu": measure_cpu,
    "full": measure_full,
    "null": measure_null,
    "memory": lambda place, _: (footprint.measure_memory(place), footprint.measure_tls_memory(place)),
    "startup": lambda place, _: footprint.measure_startup(place),
    "fill": lambda place, _: footprint.measure_fill(place),
    "login": measure_login,
    "tls": measure_tls,
}


def main() -> int:
    arguments = parse_arguments()
    # Ended from outside, it cleans up as it does after Ctrl-C; which must work in a script's background too, where the shell has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = [name for name in MEASUREMENTS if name in arguments.what or ("all" in arguments.what and name != "quick")]
    if wanted:
        programs = find_programs(arguments.build_dir.resolve(), arguments.bezel.resolve() if arguments.bezel else None)
        programs.tool("load_generator")
        for name in wanted:
            print(f"== {name}", flush=True)
            with Workplace(programs) as place:
                MEASUREMENTS[name](place, arguments)
        print(report.tables(wanted))
    if "report" in arguments.what:
        report.write()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; everything that was started is ended", file=sys.stderr)
        sys.exit(130)
    except ChildFailed as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
