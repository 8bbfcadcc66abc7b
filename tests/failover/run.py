#!/usr/bin/python3
"""Runs failovers of a real Patroni cluster under load through a pooler, checks that nothing is lost, and measures.

    run.py --pooler bezel --bezel build/release/src/bezel --event switchover
    run.py --pooler pgbouncer --pooler bezel --event all --figures figures.json

Ends with 1 when a pooler broke its promise (ledger.py says what that is), with 77 when an event cannot be run here.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "clients")]

import events  # noqa: E402
import figures  # noqa: E402
import pooler  # noqa: E402
import trial  # noqa: E402
from cluster import NODE_NAMES, Cluster  # noqa: E402
from guard import guarded  # noqa: E402
from harness import reserved_ports  # noqa: E402
from network import Loopback, Namespaces  # noqa: E402
from processes import POSTGRES_BIN, Failed, tail  # noqa: E402

SKIPPED = 77
# Of etcd and of the nodes.
CLUSTER_PORTS = 4
ROOT = Path(__file__).resolve().parents[2]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pooler", action="append", choices=["bezel", "pgbouncer"], help="may be given twice: both then meet each event in turn")
    parser.add_argument("--event", action="append", choices=[*events.BY_NAME, "all"], required=True, help="may be given several times")
    parser.add_argument("--bezel", type=Path, default=ROOT / "build" / "release" / "src" / "bezel", help="Bezel's program")
    parser.add_argument("--dns-server", type=Path, default=ROOT / "build" / "release" / "tests" / "fake_dns" / "fake_dns_server",
                        help="the DNS server of tests/fake_dns")
    parser.add_argument("--follow", choices=pooler.FOLLOWS, default="patroni", help="how Bezel finds the primary, but in events that are about that (patroni)")
    parser.add_argument("--repeats", type=int, default=1, help="how often the event happens, under one load: 30 switchovers, say")
    parser.add_argument("--console-switchover", action="store_true", help="the event switchover by the console's command SWITCHOVER")
    parser.add_argument("--expect-breach", metavar="KIND", help="turns the verdict round: the pooler must break its promise in this way")
    parser.add_argument("--figures", type=Path, help="writes figures of all trials into this file, as JSON")
    parser.add_argument("--keep", action="store_true", help="keeps the folder with logs and data")
    arguments = parser.parse_args()
    arguments.pooler = arguments.pooler or ["bezel"]
    if arguments.console_switchover and arguments.event != ["switchover"]:
        parser.error("--console-switchover goes with --event switchover alone")
    for option, program in {"--bezel": arguments.bezel, "--dns-server": arguments.dns_server}.items():
        if not os.access(program, os.X_OK):
            parser.error(f"{option}: {program} is not there; build it first")
    if not 1 <= arguments.repeats <= 1000:
        parser.error("--repeats must be 1 to 1000")
    arguments.event = list(events.BY_NAME) if "all" in arguments.event else arguments.event
    return arguments


def missing(arguments: argparse.Namespace) -> str | None:
    """What is not installed, or None."""
    programs = ["/usr/bin/patroni", "/usr/bin/etcd", str(POSTGRES_BIN / "postgres"), *([pooler.PGBOUNCER] if "pgbouncer" in arguments.pooler else [])]
    absent = [program for program in programs if not os.access(program, os.X_OK)]
    return f"not installed: {', '.join(absent)}" if absent else None


def run_all(arguments: argparse.Namespace, folder: Path) -> int:
    chosen = [events.BY_NAME[name] for name in arguments.event]
    obstacle = Namespaces.unavailable(os.getppid()) if any(event.needs_namespaces for event in chosen) else None
    skipped = [event for event in chosen if event.needs_namespaces and obstacle]
    for event in skipped:
        print(f"{event.name} is skipped: {obstacle}", flush=True)
    chosen = [event for event in chosen if event not in skipped]
    if not chosen:
        return SKIPPED
    passed, measured = True, []
    with contextlib.ExitStack() as stack:
        # Every trial has new ports of its own: no connection of an earlier one can meet it.
        ports = stack.enter_context(reserved_ports(CLUSTER_PORTS + 2 * len(chosen) * len(arguments.pooler)))
        in_namespaces = any(event.needs_namespaces for event in chosen)
        network = Namespaces(os.getppid(), NODE_NAMES) if in_namespaces else Loopback([ports.pop() for _ in range(CLUSTER_PORTS)])
        cluster = _start_cluster(arguments, folder, network)
        for event in chosen:
            for name in arguments.pooler:
                if name == "pgbouncer" and not event.for_pgbouncer:
                    continue
                result = _run_one(arguments, event, name, cluster, _new_folder(folder, f"{event.name}-{name}"), [ports.pop(), ports.pop()])
                passed = _as_expected(result, arguments.expect_breach) and passed
                measured.append(figures.of(result))
                _write_figures(arguments.figures, measured)
    return 0 if passed else 1


def _start_cluster(arguments: argparse.Namespace, folder: Path, network: Loopback | Namespaces) -> Cluster:
    begin = time.monotonic()
    cluster = Cluster(folder, network, arguments.dns_server.resolve())
    cluster.start()
    print(f"the cluster is up after {time.monotonic() - begin:.1f} s", flush=True)
    return cluster


def _run_one(arguments: argparse.Namespace, event: events.Event, name: str, cluster: Cluster, folder: Path, ports: list[int]) -> trial.Result:
    def make() -> pooler.Pooler:
        if name == "pgbouncer":
            return pooler.make_pgbouncer(cluster, folder, ports)
        return pooler.make_bezel(arguments.bezel, event.follow or arguments.follow, cluster, folder, ports)

    trigger = (lambda started: started.console("SWITCHOVER")) if arguments.console_switchover else None
    result = trial.run(event, cluster, make, trigger=trigger, repeats=arguments.repeats)
    print(figures.line(figures.of(result)), flush=True)
    print(result.verdict(), flush=True)
    if not result.passed() and name == "bezel":
        print(f"--- the end of bezel's log\n{tail(folder / 'bezel.log', 60)}", flush=True)
    return result


def _as_expected(result: trial.Result, breach_kind: str | None) -> bool:
    if breach_kind is None:
        return result.passed()
    found = any(breach.kind == breach_kind for breach in result.breaches)
    print(f"expected is \"{breach_kind}\", which was {'' if found else 'not '}found", flush=True)
    return found


def _new_folder(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir(mode=0o711)
    return path


def _write_figures(path: Path | None, measured: list[dict]) -> None:
    if path:
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(measured, indent=1) + "\n")
        partial.replace(path)


def main() -> int:
    arguments = parse_arguments()
    if absent := missing(arguments):
        print(f"skipped: {absent}", flush=True)
        return SKIPPED
    arguments.figures = arguments.figures and arguments.figures.resolve()

    def work(folder: Path) -> int:
        try:
            return run_all(arguments, folder)
        except Failed as error:
            print(f"the harness failed: {error}", flush=True)
            return 2

    return guarded(work, arguments.keep)


if __name__ == "__main__":
    sys.exit(main())
