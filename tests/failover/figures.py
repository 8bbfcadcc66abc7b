"""Figures of one trial, for tables: what the clients saw, and how long it took."""

from collections import Counter

from ledger import Doing, Ledger, Outcome
from trial import Result


def of(result: Result) -> dict:
    """Times are seconds: those after `writable` count from when the cluster took writes again. None: it did not happen while observed."""
    times, ledger = result.times, result.ledger
    begin, end = times.happened, result.observed_until
    failures = [failure for failure in ledger.failures if begin <= failure.at <= end]
    going_on = [_first_after(successes, times.writable, end) for successes in ledger.successes.values()]
    first_write = min((write.answered for write in ledger.acknowledged() if times.writable <= write.answered <= end), default=None)
    pauses = {client: longest_pause(successes, begin, end) for client, successes in ledger.successes.items()}
    return {
        "event": result.event,
        "pooler": result.pooler,
        "old_leader_last_write_s": round(times.last_old_write - begin, 2),
        "writable_s": round(times.writable - begin, 2),
        "first_write_after_writable_s": _since(first_write, times.writable),
        "all_clients_after_writable_s": _since(max(going_on), times.writable) if None not in going_on else None,
        "last_error_after_writable_s": _since(max((failure.at for failure in failures), default=None), times.writable),
        "clients_that_never_went_on": sorted(client for client, first in zip(ledger.successes, going_on) if first is None),
        "longest_pause_s": round(max(pauses.values()), 2),
        "errors": dict(Counter(_kind(failure) for failure in failures if failure.doing != Doing.LOGIN).most_common()),
        "dropped_connections": sum(failure.dropped for failure in failures),
        "failed_logins": sum(failure.doing == Doing.LOGIN for failure in failures),
        "login_errors": dict(Counter(failure.text[-120:] for failure in failures if failure.doing == Doing.LOGIN).most_common(3)),
        "acknowledged_writes": sum(1 for _ in ledger.acknowledged()),
        "writes_in_doubt": sum(write.outcome == Outcome.IN_DOUBT for write in ledger.writes),
        "observed_s": round(end - begin, 1),
        "breaches": dict(Counter(breach.kind for breach in result.breaches).most_common()),
        "complaint": result.complaint and result.complaint.splitlines()[0],
    }


def longest_pause(successes: list[float], begin: float, end: float) -> float:
    """The longest time that a client got no good answer in, from the last answer before the begin to the end."""
    before = max((at for at in successes if at < begin), default=begin)
    moments = [before, *(at for at in successes if begin <= at <= end), end]
    return max(later - earlier for earlier, later in zip(moments, moments[1:]))


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
