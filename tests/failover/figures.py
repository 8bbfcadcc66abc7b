"""Figures of one trial, for tables: what the clients saw, and how long it took."""

from collections import Counter

from events import Times
from ledger import Doing, Ledger, Outcome
from trial import Result


def of(result: Result) -> dict:
    """Times are seconds: those after `writable` count from when the cluster took writes again. None: it did not happen while observed. Of an
    event that happened several times the slowest of each."""
    ledger = result.ledger
    begin, end = result.rounds[0].happened, result.observed_until
    failures = [failure for failure in ledger.failures if begin <= failure.at <= end]
    ends = [times.happened for times in result.rounds[1:]] + [end]
    rounds = [_round(times, ledger, until) for times, until in zip(result.rounds, ends)]
    return {
        "event": result.event,
        "pooler": result.pooler,
        "happened": len(rounds),
        **{name: _slowest([cell[name] for cell in rounds]) for name in rounds[0]},
        "last_error_after_writable_s": _since(max((failure.at for failure in failures), default=None), result.rounds[-1].writable),
        "clients_that_never_went_on": sorted({breach.detail for breach in result.breaches if breach.kind == "client never went on"}),
        "longest_pause_s": round(max(longest_wait(waits, ledger.wanting_since[client], begin, end) for client, waits in ledger.waits.items()), 2),
        "errors": dict(Counter(_kind(failure) for failure in failures if failure.doing != Doing.LOGIN).most_common()),
        "dropped_connections": sum(failure.dropped for failure in failures),
        "failed_logins": sum(failure.doing == Doing.LOGIN for failure in failures),
        "login_errors": dict(Counter(_without_address(failure.text) for failure in failures if failure.doing == Doing.LOGIN).most_common(3)),
        "acknowledged_writes": sum(1 for _ in ledger.acknowledged()),
        "writes_in_doubt": sum(write.outcome == Outcome.IN_DOUBT for write in ledger.writes),
        "observed_s": round(end - begin, 1),
        "breaches": dict(Counter(breach.kind for breach in result.breaches).most_common()),
        "complaint": result.complaint and result.complaint.splitlines()[0],
    }


def _round(times: Times, ledger: Ledger, until: float) -> dict[str, float | None]:
    """Of one time that it happened."""
    going_on = [_first_after(successes, times.writable, until) for successes in ledger.successes.values()]
    first_write = min((write.answered for write in ledger.acknowledged() if times.writable <= write.answered <= until), default=None)
    return {
        "old_leader_last_write_s": round(times.last_old_write - times.happened, 2),
        "writable_s": round(times.writable - times.happened, 2),
        "first_write_after_writable_s": _since(first_write, times.writable),
        "all_clients_after_writable_s": None if None in going_on else _since(max(going_on), times.writable),
    }


def _slowest(values: list[float | None]) -> float | None:
    return None if None in values else max(values)


def _without_address(text: str) -> str:
    return text.rpartition("failed: ")[2]


def longest_wait(waits: list[tuple[float, float]], open_since: float | None, begin: float, end: float) -> float:
    """How long a client wanted something at most, of what lies between begin and end or reaches into it; what still waits has waited until the end."""
    closed = [min(until, end) - since for since, until in waits if until >= begin and since <= end]
    still = [end - open_since] if open_since is not None and open_since <= end else []
    return max(closed + still, default=0.0)


def _kind(failure: object) -> str:
    return f"{failure.sqlstate or 'none'} {failure.doing}{', dropped' if failure.dropped else ''}"


def _first_after(moments: list[float], since: float, until: float) -> float | None:
    return next((at for at in moments if since <= at <= until), None)


def _since(at: float | None, origin: float) -> float | None:
    return None if at is None else round(at - origin, 2)


def line(figures: dict) -> str:
    """One line for people who watch."""
    return (f"{figures['event']} through {figures['pooler']}: writes taken again after {figures['writable_s']} s, first write through the pooler "
            f"{figures['first_write_after_writable_s']} s later, all clients {figures['all_clients_after_writable_s']} s later; "
            f"{sum(figures['errors'].values())} errors, {figures['dropped_connections']} dropped, {figures['failed_logins']} failed logins; "
            f"longest pause {figures['longest_pause_s']} s")
