"""Tables and plot from the results on disk."""

import statistics
import sys
from pathlib import Path

from measure import results
from measure.poolers import BEZEL, BEZEL_AIO, BEZEL_PLAIN, BEZELS, BYTE_RELAY, DIRECT, LABELS, PGBOUNCER
from measure.results import Cells, base_of
from measure.workplace import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.png"
BEGIN = "<!-- results:begin (written by bench/run.py report) -->"
END = "<!-- results:end -->"

# Pooler CPU per transaction as a share of PgBouncer's, by mode and clients.
_FAST = {50: 0.72, 500: 0.62, 1000: 0.62}
_PLAIN = {50: 0.85, 500: 0.75, 1000: 0.75}
CPU_TARGETS = {
    BEZEL: {"simple": _FAST, "extended": _FAST, "prepared": dict.fromkeys(_FAST, 0.72)},
    BEZEL_AIO: {"simple": _PLAIN, "extended": _PLAIN, "prepared": _PLAIN},
    BEZEL_PLAIN: {"simple": _PLAIN, "extended": _PLAIN, "prepared": _PLAIN},
}
# What the quick measurement brings besides its comparison.
QUICK_PARTS = ["memory", "startup", "fill"]

RSS_1000_TARGET = 12 * 1024 * 1024
BYTES_PER_CLIENT_TARGET = 2048
BYTES_PER_TLS_CLIENT_TARGET = 12 * 1024
STARTUP_TARGET_MS = 100
FILL_TARGET_MS = 1000
# Ratios to PgBouncer.
LOGIN_TARGET = 0.8
TLS_TARGET = 0.8
# To the same logins at another process.
CROWD_TARGET = 1.2

MODE_LABELS = {"simple": "-S simple", "extended": "-S extended", "prepared": "-S prepared*", "tpcb": "TPC-B"}


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def milliseconds(value_us: float | None) -> str:
    return "–" if value_us is None else number(value_us / 1000, 2 if value_us < 100_000 else 0)


def against(value: float | None, target: float | None, digits: int = 2) -> str:
    """A figure with its verdict, bold where the target is missed."""
    if value is None or target is None:
        return number(value, digits)
    if round(value, digits) <= target:
        return f"{number(value, digits)} ✓"
    return f"**{number(value, digits)}** ✗"


def judged(ratios: list[float], target: float | None) -> str:
    """The median of the rounds' ratios with its verdict, and how far they lie apart: what is within that is noise."""
    if not ratios:
        return "–"
    text = against(statistics.median(ratios), target)
    return text if len(ratios) == 1 else f"{text} ({min(ratios):.2f}–{max(ratios):.2f})"


def of_runs(cells: Cells, figure: str, key: dict, digits: int = 2) -> str:
    """The median of a figure, or that every run failed."""
    if cells.tried(**key) and not cells.of(**key):
        return "**failed**"
    return number(cells.median(figure, **key), digits)


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _measured(data: dict) -> str:
    """One line under a heading: on what, with what."""
    e = data["environment"]
    parts = [e["date"], f"{e['cores']} cores of {e['cpu']}", f"Linux {e['kernel']}", e["postgresql"], e["pgbouncer"] or "no PgBouncer",
             e["bezel"] or "no Bezel", f"load before: {e['load_before']}"]
    text = "Measured " + "; ".join(parts) + "."
    failed = sum(1 for cell in data["cells"] if "error" in cell)
    if failed:
        text += f" **{failed} of {len(data['cells'])} runs failed** and are not counted."
    if data.get("skipped"):
        text += f" {data['skipped']} runs were left out for want of time."
    for name, error in data["refused"].items():
        text += f" **{LABELS[name]} did not run:** {' '.join(error.split())[:200]}"
    return text


def _rows(cells: Cells, *names: str) -> list[dict]:
    """Each combination of these keys that was measured, in order."""
    rows: list[dict] = [{}]
    for name in names:
        rows = [row | {name: value} for row in rows for value in cells.values(name)]
    return [row for row in rows if cells.tried(**row)]


def _cpu() -> list[str]:
    data = results.load("cpu")
    if not data or not data["cells"]:
        return []
    settings = data["settings"]
    return [
        "## CPU per transaction",
        _measured(data),
        f"User and system time of the pooler's process for one transaction of `pgbench -S`, with PostgreSQL behind it. {settings['rounds']} rounds; in each, every pooler "
        f"works {settings['seconds']} s in turns of {settings['turn_s']} s. Figures are medians over the rounds; a ratio is the median of the ratios to PgBouncer "
        "within each round, with the lowest and highest round in parentheses. *: PgBouncer 1.18 has no prepared statements in transaction mode; "
        "its `-M extended`, measured in the same turns, stands in.",
        f"Targets at {' / '.join(map(str, _FAST))} clients: with io_uring {_targets(_FAST)} ({CPU_TARGETS[BEZEL]['prepared'][50]} throughout for prepared), "
        f"without it {_targets(_PLAIN)}.",
        _cpu_table(Cells(data["cells"]), CPU_TARGETS),
    ]


def _cpu_table(cells: Cells, targets: dict, *further: str) -> str:
    """`further`: keys that tell cells apart besides mode and clients."""
    rows = []
    for row in _rows(cells, *further, "mode", "clients"):
        base = row | {"contender": PGBOUNCER}
        line = [*(row[name] for name in further), MODE_LABELS[row["mode"]], str(row["clients"]), of_runs(cells, "cpu_us", base)]
        for name in BEZELS:
            key = row | {"contender": name}
            target = targets.get(name, {}).get(row["mode"], {}).get(row["clients"])
            line += [of_runs(cells, "cpu_us", key), judged(cells.ratios("cpu_us", key, base), target)]
        rows.append(line)
    heads = [head for name in BEZELS for head in (f"{LABELS[name]} µs", "ratio")]
    return table([*further, "pgbench", "clients", "PgBouncer µs", *heads], rows)


def _throughput_table(cells: Cells) -> str:
    rows = []
    for row in _rows(cells, "mode", "clients"):
        for name in (DIRECT, PGBOUNCER, *BEZELS):
            key = row | {"contender": name}
            if not cells.tried(**key):
                continue
            tps_ratios, p99_ratios = ([] if name == PGBOUNCER else cells.ratios(figure, key, base_of(row)) for figure in ("tps", "p99_us"))
            target = 1.0 if name in BEZELS and row["clients"] == 1000 else None
            rows.append([MODE_LABELS[row["mode"]], str(row["clients"]), LABELS[name], of_runs(cells, "tps", key, 0),
                         milliseconds(cells.median("p50_us", **key)), milliseconds(cells.median("p99_us", **key)),
                         judged(tps_ratios, None), judged(p99_ratios, target),
                         number(cells.median("voluntary", **key)), number(cells.median("involuntary", **key))])
    return table(["pgbench", "clients", "through", "tps", "p50 ms", "p99 ms", "tps ratio", "p99 ratio", "switches, own", "forced"], rows)


def _targets(targets: dict[int, float]) -> str:
    return " / ".join(f"{target:.2f}" for target in targets.values())


def _comparison(name: str) -> list[str]:
    data = results.load(name)
    if not data or not data["cells"]:
        return []
    cells, settings = Cells(data["cells"]), data["settings"]
    return [
        "## Throughput and latency",
        _measured(data),
        f"{settings['rounds']} interleaved rounds of {settings['seconds']} s a run. Figures are medians over the rounds; a ratio is the median of "
        "the ratios to PgBouncer within each round, with the lowest and highest round in parentheses. *: PgBouncer 1.18 has no prepared statements in transaction mode; "
        "its figure for `-M extended` stands in.",
        "A ratio of tps above 1 and of p99 below 1 is better than PgBouncer. *Direct* runs only where PostgreSQL has connections enough.",
        _throughput_table(cells),
    ]


def _null() -> list[str]:
    data = results.load("null")
    if not data or not data["cells"]:
        return []
    cells, settings = Cells(data["cells"]), data["settings"]
    rows = []
    for row in _rows(cells, "transport", "mode", "clients"):
        for name in (DIRECT, BYTE_RELAY, PGBOUNCER, *BEZELS):
            key = row | {"contender": name}
            if not cells.tried(**key):
                continue
            ratios = [] if name == PGBOUNCER else cells.ratios("cpu_us", key, base_of(row))
            over_tcp = base_of(row | {"transport": "tcp"})
            rows.append([row["transport"], row["mode"] + ("*" if row["mode"] == "prepared" else ""), str(row["clients"]), LABELS[name],
                         of_runs(cells, "tps", key, 0), milliseconds(cells.median("p99_us", **key)), number(cells.median("cpu_us", **key)),
                         judged(ratios, None), number(cells.ratio("cpu_us", key, over_tcp)), number(cells.median("involuntary", **key))])
    head = ["to the server", "protocol", "clients", "through", "tps", "p99 ms", "CPU µs", "ratio", "ratio to PgBouncer over TCP", "forced switches"]
    return [
        "## The pooler alone",
        _measured(data),
        f"{settings['rounds']} interleaved rounds of {settings['seconds']} s a run; the pooler has a core of its own, load generator and null server share another. "
        "The ratio is CPU per transaction to PgBouncer's. *: as above.",
        table(head, rows),
    ]


def _memory() -> list[str]:
    data = results.load("memory")
    if not data or not data["cells"]:
        return []
    rows = []
    for cell in data["cells"]:
        line = [LABELS[cell["contender"]], "one query each" if cell["queries_before"] else "login only"]
        if "error" in cell:
            rows.append([*line, "**failed**", "–", "–", "–"])
            continue
        own = cell["contender"] in BEZELS
        mib = [cell[f"rss_{count}"] / 2**20 for count in (0, 1000, 3000)]
        rows.append([*line, number(mib[0]), against(mib[1], RSS_1000_TARGET / 2**20 if own else None), number(mib[2]),
                     against(cell["bytes_per_client"], BYTES_PER_CLIENT_TARGET if own else None, 0)])
    head = ["", "the clients did", "0 clients MiB", "1000 clients MiB", "3000 clients MiB", "bytes a further client"]
    return ["## Memory of idle clients", _measured(data),
            "Resident memory of the whole process, without TLS. Targets: 1000 idle clients within 12 MiB, a further one within 2048 bytes.",
            table(head, rows), *_tls_memory()]


def _tls_memory() -> list[str]:
    data = results.load("tls_memory")
    if not data or not data["cells"]:
        return []
    rows = []
    for cell in data["cells"]:
        if "error" in cell:
            rows.append([LABELS[cell["contender"]], "**failed**", "–", "–", "–"])
            continue
        target = BYTES_PER_TLS_CLIENT_TARGET if cell["contender"] in BEZELS else None
        rows.append([LABELS[cell["contender"]], *(number(cell[f"rss_{count}"] / 2**20) for count in (0, 200, 1000)),
                     against(cell["bytes_per_client"], target, 0)])
    return [f"By TLS 1.3, of clients that only logged in. Target: {BYTES_PER_TLS_CLIENT_TARGET} bytes for a further one.",
            table(["", "0 clients MiB", "200 clients MiB", "1000 clients MiB", "bytes a further client"], rows)]


def _startup() -> list[str]:
    data = results.load("startup")
    if not data or not data["cells"]:
        return []
    cells = Cells(data["cells"])
    rows = []
    for row in _rows(cells, "contender"):
        times = [cell["elapsed_ms"] for cell in cells.of(**row)]
        target = STARTUP_TARGET_MS if row["contender"] in BEZELS else None
        rows.append([LABELS[row["contender"]], against(statistics.median(times) if times else None, target, 1), number(max(times, default=None), 1)])
    return ["## Start-up", _measured(data),
            f"From the start of the process to the first answered login, of {data['settings']['starts']} starts. Target: {STARTUP_TARGET_MS} ms.",
            table(["", "median ms", "longest ms"], rows)]


def worst_fill(rounds: list[dict], target_ms: float | None) -> str:
    """The slowest round's time, or how many rounds ended with the pool not full: a median would hide those."""
    times = [cell.get("pool_full_ms") for cell in rounds]
    missed = times.count(None)
    if missed:
        return f"**not full in {missed} of {len(times)} rounds**" + (" ✗" if target_ms is not None else "")
    return against(max(times), target_ms, 0)


def _fill() -> list[str]:
    data = results.load("fill")
    if not data or not data["cells"]:
        return []
    cells, settings = Cells(data["cells"]), data["settings"]
    rows = []
    for row in _rows(cells, "contender"):
        own = row["contender"] in BEZELS
        rows.append([LABELS[row["contender"]], number(cells.median("pool_full_ms", **row), 0),
                     worst_fill(cells.tried(**row), FILL_TARGET_MS if own else None),
                     number(cells.median("servers_opened", **row), 0), number(cells.median("all_logged_in_ms", **row), 0),
                     number(cells.median("all_answered_ms", **row), 0)])
    head = ["", f"pool of {settings['pool_size']} full ms", "slowest round", "servers opened", "all logged in ms", "all answered ms"]
    return ["## A thousand clients at once", _measured(data),
            f"{settings['clients']} clients connect at the same moment to a pooler without server connections and send one query each. The null server "
            f"takes {settings['login_delay_ms']} ms for a login and {settings['query_delay_ms']} ms for a query, so that no pooler can answer all of them in "
            f"less than {settings['clients'] * settings['query_delay_ms'] // settings['pool_size']} ms. Target: full within {FILL_TARGET_MS} ms.",
            table(head, rows)]


def _login() -> list[str]:
    data = results.load("login")
    if not data or not data["cells"]:
        return []
    cells = Cells(data["cells"])
    rows = []
    for row in _rows(cells, "auth_type", "contender"):
        ratios = [] if row["contender"] == PGBOUNCER else cells.ratios("cpu_us", row, base_of(row))
        rows.append([row["auth_type"], LABELS[row["contender"]], of_runs(cells, "tps", row, 0), of_runs(cells, "cpu_us", row, 1),
                     judged(ratios, LOGIN_TARGET)])
    return ["## Cost of a login", _measured(data),
            "`pgbench -C` in turns: each client connects, runs one query and leaves. The time is mostly pgbench's own; the pooler's CPU is what counts. "
            f"Target: {LOGIN_TARGET}.",
            table(["", "through", "logins a second", "pooler's CPU µs", "ratio"], rows)]


def _tls() -> list[str]:
    data = results.load("tls")
    if not data or not data["cells"]:
        return []
    settings = data["settings"]
    return ["## CPU per transaction by TLS", _measured(data),
            f"As above, with TLS 1.3 to the clients, or to the clients and to the servers; {settings['rounds']} rounds of {settings['seconds']} s a pooler. "
            f"Handshakes of the clients are among what is counted. Target: {TLS_TARGET}.",
            _cpu_table(Cells(data["cells"]), {name: {mode: dict.fromkeys(settings["clients"], TLS_TARGET) for mode in settings["modes"]} for name in BEZELS}, "encrypted")]


def _crowds() -> list[str]:
    data = results.load("crowds")
    if not data or not data["cells"]:
        return []
    settings = data["settings"]
    cells = Cells(data["cells"])
    rows = []
    for row in _rows(cells, "crowd", "contender"):
        ratios = [] if row["contender"] == PGBOUNCER else cells.ratios("p99_us", row, base_of(row))
        growth = [cell["p99_growth"] for cell in cells.of(**row)]
        rows.append([row["crowd"], LABELS[row["contender"]], of_runs(cells, "logins_per_s", row, 0), milliseconds(cells.median("p99_alone_us", **row)),
                     milliseconds(cells.median("p99_elsewhere_us", **row)), milliseconds(cells.median("p99_us", **row)), judged(growth, CROWD_TARGET), judged(ratios, None)])
    return ["## Queries while others log in", _measured(data),
            f"`pgbench -S` by TLS, {settings['query_clients']} clients, {settings['query_rate']} queries a second: the 99th percentile of their latency in "
            f"{settings['seconds']} s without any login, in {settings['seconds']} s with the logins at a second process of the same pooler (which take as much of the machine, and stall "
            f"nobody here), and in {settings['seconds']} s with them at this one; how the third compares with the second (target: {CROWD_TARGET}), and with PgBouncer's third; "
            f"{settings['rounds']} rounds. The pooler's certificate is {settings['certificate']}. Where the machine could not do as many logins, there were as many as it could.",
            table(["others", "through", "logins a second", "p99 alone ms", "logins elsewhere ms", "logins here ms", "here / elsewhere", "ratio to PgBouncer"], rows)]


def tables(measured: list[str] | None = None) -> str:
    """Markdown of these measurements; by default of all there are, with the full comparison before the quick one."""
    comparison = "full" if results.load("full") else "quick"
    sections = {
        "quick": lambda: _comparison("quick"),
        "full": lambda: _comparison("full"),
        "cpu": _cpu,
        "null": _null,
        "memory": _memory,
        "startup": _startup,
        "fill": _fill,
        "login": _login,
        "tls": lambda: _tls() + _crowds(),
    }
    names = measured or ["cpu", comparison, "null", "memory", "startup", "fill", "login", "tls"]
    if "quick" in names and measured:
        names = dict.fromkeys([*names, *QUICK_PARTS])
    parts = [part for name in names for part in sections[name]()]
    return "\n\n".join(parts) if parts else "No results yet: run `./dev bench cpu full null memory startup fill login tls report`."


def _plot_bars(axes, cells: Cells) -> None:
    rows = [row for row in _rows(cells, "mode", "clients") if row["mode"] in CPU_TARGETS[BEZEL]]
    width = 0.27
    for offset, name, colour in ((-width, BEZEL, "#2f6f9f"), (0, BEZEL_AIO, "#7fb0d1"), (width, BEZEL_PLAIN, "#b0b7bd")):
        heights, targets = [], []
        for row in rows:
            heights.append(cells.ratio("cpu_us", row | {"contender": name}, row | {"contender": PGBOUNCER}) or 0)
            targets.append(CPU_TARGETS[name][row["mode"]].get(row["clients"]))
        positions = [index + offset for index in range(len(rows))]
        bars = axes.bar(positions, heights, width, color=colour, label=LABELS[name])
        axes.bar_label(bars, ["" if not height else f"{height:.2f}" for height in heights], padding=2, fontsize=7)
        marks = [(at, target) for at, target in zip(positions, targets) if target]
        axes.hlines([target for _, target in marks], [at - width / 2 for at, _ in marks], [at + width / 2 for at, _ in marks],
                    colors="#b3261e", linewidth=2, label="target" if name == BEZEL_PLAIN else None)
    axes.set_xticks(range(len(rows)), [f"{row['mode']}\n{row['clients']}" for row in rows])


def plot(path: Path) -> bool:
    """Draws the CPU ratios with the target lines; False when there is no comparison to draw."""
    data = results.load("cpu")
    cells = Cells(data["cells"]) if data else None
    if not cells or not any(cells.of(contender=name) for name in BEZELS) or not cells.of(contender=PGBOUNCER):
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(10, 4.5), layout="constrained")
    _plot_bars(axes, cells)
    axes.axhline(1, color="black", linewidth=1, linestyle=":")
    axes.annotate("PgBouncer", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.set_ylim(0, max(1.2, axes.get_ylim()[1]))
    axes.set_ylabel("pooler CPU per transaction, ratio to PgBouncer")
    axes.set_xlabel("pgbench -S: protocol and clients (prepared is compared with PgBouncer's extended)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
    return True


def write() -> None:
    """Puts tables and plot into the documentation, between the page's two marks."""
    page = PAGE.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        sys.exit(f"{PAGE} must hold the line `{BEGIN}` and, after it, the line `{END}`, once each")
    text = tables()
    if plot(PLOT):
        text = f"![Pooler CPU per transaction as a ratio to PgBouncer's]({PLOT.name})\n\n{text}"
    head, tail = page[: page.index(BEGIN)], page[page.index(END):]
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{tail}")
    print(f"written: {PAGE.relative_to(ROOT)}")
