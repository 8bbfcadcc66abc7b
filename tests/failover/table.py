#!/usr/bin/python3
"""Makes the table of docs/failover.md from figures of run.py --figures, both poolers' of the same run.

    table.py figures.json                        prints it
    table.py figures.json --write docs/failover.md   puts it between the page's markers
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import events  # noqa: E402

BEGIN = "<!-- failover:begin (written by tests/failover/table.py) -->"
END = "<!-- failover:end -->"
# Breaches that no error told of.
WRONG_ANSWERS = ["read from a standby", "acknowledged write not seen", "acknowledged write lost", "write done twice", "failed write is there", "half a transaction"]
LABELS = {"bezel": "Bezel", "pgbouncer": "PgBouncer 1.18"}
HEAD = ["event", "pooler", "writes taken again after", "first write through it", "all clients go on", "longest pause", "dropped connections", "failed logins",
        "other errors"]


def seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def later(value: float | None) -> str:
    return "never" if value is None else f"+{value:.1f} s"


def errors_of(cell: dict) -> str:
    """By SQLSTATE; dropped connections have a column of their own. Wrong answers without an error come after them."""
    counts = Counter()
    for kind, count in cell["errors"].items():
        if not kind.endswith("dropped"):
            counts[kind.split()[0]] += count
    kinds = [f"{count} × {sqlstate}" for sqlstate, count in counts.most_common()]
    kinds += [f"{cell['breaches'][kind]} × {kind}" for kind in WRONG_ANSWERS if kind in cell["breaches"]]
    return ", ".join(kinds) or "none"


def row(cell: dict) -> list[str]:
    stuck = len(cell["clients_that_never_went_on"])
    all_clients = f"never ({stuck} clients)" if stuck else later(cell["all_clients_after_writable_s"])
    event = events.BY_NAME[cell["event"]]
    return [event.title, LABELS[cell["pooler"]], "–" if event.harmless else seconds(cell["writable_s"]), later(cell["first_write_after_writable_s"]), all_clients,
            seconds(cell["longest_pause_s"]), str(cell["dropped_connections"]), str(cell["failed_logins"]), errors_of(cell)]


def table(cells: list[dict]) -> str:
    """In the order of the events, poolers side by side."""
    order = {name: number for number, name in enumerate(events.BY_NAME)}
    rows = [row(cell) for cell in sorted(cells, key=lambda cell: (order[cell["event"]], cell["pooler"] != "pgbouncer"))]
    lines = [HEAD, ["---"] * 2 + ["---:"] * (len(HEAD) - 3) + ["---"], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(page: Path, text: str) -> None:
    """Raises ValueError when the page has no place for the table."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    arguments = parser.parse_args()
    text = table(json.loads(arguments.figures.read_text()))
    if arguments.write:
        write(arguments.write, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
