"""Results on disk, and the figures made of them: medians over rounds, and ratios within a round."""

import datetime
import json
import os
import platform
import statistics
import subprocess
from pathlib import Path

from measure.workplace import RESULTS, Programs


def begin(programs: Programs, **settings: object) -> dict:
    """Results of a measurement that begins now: no cells yet, and no contender that cannot run here."""
    return {"environment": environment(programs), "settings": settings, "refused": {}, "cells": []}


def environment(programs: Programs) -> dict:
    """What a reader must know to judge figures: machine, versions, and how busy the machine was already."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "?"),
        "load_before": round(os.getloadavg()[0], 2),
        "pgbouncer": _version(programs.pgbouncer),
        "bezel": _version(programs.bezel),
        "postgresql": _version(programs.postgres_bin / "postgres"),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(program: Path | None) -> str | None:
    if not program:
        return None
    try:
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    return (shown.stdout or shown.stderr).strip().split("\n")[0] or "?"


def save(name: str, data: dict) -> None:
    """Writes results whole or not at all, so that a report never meets half a file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    partial = RESULTS / f".{name}.partial"
    partial.write_text(json.dumps(data, indent=1) + "\n")
    partial.replace(RESULTS / f"{name}.json")


def load(name: str) -> dict | None:
    try:
        return json.loads((RESULTS / f"{name}.json").read_text())
    except FileNotFoundError:
        return None


class Cells:
    """Measured cells of all rounds, found by what they have in common: round, mode, clients, contender, ..."""

    def __init__(self, cells: list[dict]):
        self._cells = cells

    def tried(self, **key: object) -> list[dict]:
        """Those that were run, those that failed among them."""
        return [cell for cell in self._cells if all(cell.get(name) == value for name, value in key.items())]

    def of(self, **key: object) -> list[dict]:
        """Those that gave figures."""
        return [cell for cell in self.tried(**key) if "error" not in cell]

    def values(self, name: str) -> list:
        """The different values of a key, in the order they were met."""
        return list(dict.fromkeys(cell[name] for cell in self._cells))

    def median(self, figure: str, **key: object) -> float | None:
        values = [cell[figure] for cell in self.of(**key) if cell.get(figure) is not None]
        return statistics.median(values) if values else None

    def ratios(self, figure: str, key: dict, base: dict) -> list[float]:
        """One cell's figure divided by that of `base` in the same round, for each round that has both."""
        ratios = []
        for cell in self.of(**key):
            for other in self.of(**base, round=cell["round"]):
                if cell.get(figure) is not None and other.get(figure):
                    ratios.append(cell[figure] / other[figure])
        return ratios

    def ratio(self, figure: str, key: dict, base: dict) -> float | None:
        """The median of the rounds' ratios."""
        ratios = self.ratios(figure, key, base)
        return statistics.median(ratios) if ratios else None


def base_of(key: dict) -> dict:
    """The PgBouncer cell that a pooler's cell is compared with.

    PgBouncer 1.18 has no prepared statements in transaction mode: there its figure for -M extended stands in.
    """
    base = key | {"contender": "pgbouncer"}
    if base.get("mode") == "prepared":
        base["mode"] = "extended"
    return base
