"""The poolers' CPU for a client that comes, asks once and goes (pgbench -C), by way of authentication; in turns, as CPU per transaction."""

from measure import certificate, pgbench_turns, results
from measure.pgbench_rounds import rotated, start_all
from measure.poolers import DIRECT, LOGIN_WAYS, Setup, poolers_of, stop
from measure.tools import start_null_server
from measure.workplace import Workplace

CLIENTS = 20


def measure(place: Workplace, rounds: int, seconds: float) -> dict:
    """`seconds`: of each pooler in each way and round."""
    data = results.begin(place.programs, clients=CLIENTS, rounds=rounds, seconds=seconds)
    server = start_null_server(place)
    script = place.path("one.sql")
    script.write_text("select 1;\n")
    options = ["-C", "-M", "simple", "-f", str(script)]
    own = certificate.make(place)
    for round_number in range(1, rounds + 1):
        for way in LOGIN_WAYS:
            setup = Setup(server.tcp, way=way, certificate=own if way.tls else None)
            running = start_all(place, poolers_of(place.programs), setup, data["refused"])
            targets = [contender for name, contender in running.items() if name != DIRECT]
            wanted = [(target, options) for target in rotated(targets, round_number)]
            for name, figures in pgbench_turns.run_in_turns(place, wanted, CLIENTS, seconds).items():
                data["cells"].append({"round": round_number, "auth_type": way.label, "contender": name} | figures)
                print(_line(data["cells"][-1]), flush=True)
            for target in targets:
                stop(place, target)
        results.save("login", data)
    place.children.stop(server.child)
    return data


def _line(cell: dict) -> str:
    head = f"round {cell['round']}  {cell['auth_type']:34}  {cell['contender']:12}"
    if "error" in cell:
        return f"{head} FAILED: {' '.join(cell['error'].split())[:200]}"
    return f"{head}{cell['tps']:8.0f} logins/s  {cell['cpu_us']:7.2f} us CPU  {cell['involuntary']:.2f} switches forced"
