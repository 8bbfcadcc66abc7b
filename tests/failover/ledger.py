"""What the clients did and were told, and what of it breaks the pooler's promise.

The promise is docs' "when a server is lost": an acknowledged write is there, once; what failed for sure is not there; transactions are there
whole or not at all; a client gets no error but those of the table, is never dropped and never refused. Each check names every breach it finds.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Doing(StrEnum):
    """What a client was at when an error came."""

    LOGIN = "login"
    SINGLE = "single statement"
    BEGIN = "begin"
    IN_TRANSACTION = "in a transaction"
    FAILED_TRANSACTION = "in a failed transaction"
    COMMIT = "commit"
    ROLLBACK = "rollback"


class Outcome(StrEnum):
    """What a client knows of its write."""

    OPEN = "without an answer"
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # for sure
    IN_DOUBT = "in doubt"


LOST_SERVER = frozenset({"08006", "57P01", "57P02"})
IN_DOUBT = "08007"
FAILED_TRANSACTION = "25P02"


@dataclass(frozen=True)
class Allowed:
    """The errors that clients may see while a server is lost, by what they were at. An event may allow less."""

    errors: dict[Doing, frozenset[str]]
    dropped_connections: bool = False
    failed_logins: bool = False


# Errors of PostgreSQL and of the pooler as section 5 of the design has them.
PROMISE = Allowed({
    Doing.LOGIN: frozenset(),
    Doing.SINGLE: frozenset({IN_DOUBT}),
    # BEGIN may be the first of a transaction or, as far as a pooler can see, a statement of its own.
    Doing.BEGIN: LOST_SERVER | {IN_DOUBT},
    Doing.IN_TRANSACTION: LOST_SERVER,
    Doing.FAILED_TRANSACTION: frozenset({FAILED_TRANSACTION}),
    Doing.COMMIT: LOST_SERVER | {IN_DOUBT},
    Doing.ROLLBACK: frozenset(),
})
NO_ERRORS = Allowed({doing: frozenset() for doing in Doing})


@dataclass
class Write:
    """Rows that one client wrote in one transaction, and what became of them as far as it knows. Times are time.monotonic()."""

    client: str
    ids: list[int]
    tried: float
    outcome: Outcome = Outcome.OPEN
    answered: float | None = None


@dataclass(frozen=True)
class Read:
    """One that a client of replicas got an answer to."""

    client: str
    began: float
    # The address of the server that answered.
    server: str
    # Whether its database has fallback_to_primary.
    may_fall_back: bool


@dataclass(frozen=True)
class Failure:
    """An error, or a refused login."""

    at: float
    client: str
    doing: Doing
    sqlstate: str | None
    text: str
    dropped: bool

    def __str__(self) -> str:
        return f"{self.client}, {self.doing}: {self.sqlstate or 'no SQLSTATE'} {self.text}{', connection dropped' if self.dropped else ''}"


@dataclass(frozen=True)
class Breach:
    """One way in which the promise was not kept, with what shows it."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


@dataclass
class Ledger:
    """Filled by many clients at once; read when they have ended, or by those who can live with a moment's delay."""

    writes: list[Write] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    # The clients of replicas.
    readers: set[str] = field(default_factory=set)
    # When each client got an answer without an error; a login counts as such only with the statement after it.
    successes: dict[str, list[float]] = field(default_factory=dict)
    # For each client from when until when it wanted something: from the first attempt to the good answer, failed attempts in between.
    waits: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    # Since when each wants what it has not got yet.
    wanting_since: dict[str, float | None] = field(default_factory=dict)
    # Wrong answers, noticed by the clients themselves.
    breaches: list[Breach] = field(default_factory=list)
    # After this nothing counts: the load is being ended.
    closed: threading.Event = field(default_factory=threading.Event)

    def add_client(self, client: str, is_reader: bool = False) -> None:
        if is_reader:
            self.readers.add(client)
        self.successes[client], self.waits[client], self.wanting_since[client] = [], [], None

    def begin_write(self, client: str, ids: list[int]) -> Write:
        write = Write(client, ids, time.monotonic())
        self.writes.append(write)
        return write

    def end_write(self, write: Write, outcome: Outcome) -> None:
        if not self.closed.is_set():
            write.outcome, write.answered = outcome, time.monotonic()

    def fail(self, failure: Failure) -> None:
        if not self.closed.is_set():
            self.failures.append(failure)

    def note_read(self, read: Read) -> None:
        if not self.closed.is_set():
            self.reads.append(read)

    def want(self, client: str) -> None:
        if self.wanting_since[client] is None and not self.closed.is_set():
            self.wanting_since[client] = time.monotonic()

    def succeed(self, client: str) -> None:
        if not self.closed.is_set():
            now = time.monotonic()
            self.successes[client].append(now)
            self.waits[client].append((self.wanting_since[client], now))
            self.wanting_since[client] = None

    def breach(self, kind: str, detail: str) -> None:
        if not self.closed.is_set():
            self.breaches.append(Breach(kind, detail))

    def acknowledged(self) -> Iterable[Write]:
        return (write for write in self.writes if write.outcome == Outcome.ACKNOWLEDGED)


def outcome_of_error(doing: Doing, sqlstate: str | None, dropped: bool) -> Outcome:
    """What an error says about the rows that it came for. Only a server's or a pooler's clear word is taken for a failure."""
    if doing in (Doing.BEGIN, Doing.IN_TRANSACTION):
        return Outcome.FAILED  # COMMIT was never sent
    if dropped or sqlstate is None or sqlstate == IN_DOUBT:
        return Outcome.IN_DOUBT
    return Outcome.FAILED


def check(ledger: Ledger, stored: Counter, allowed: Allowed = PROMISE, allowed_to_readers: Allowed = NO_ERRORS) -> list[Breach]:
    """Everything that breaks the promise, waiting and where was read apart. `stored` are the ids in the table with how often each is there."""
    breaches = list(ledger.breaches)
    breaches += _check_rows(ledger.writes, stored)
    breaches += _check_failures([failure for failure in ledger.failures if failure.client not in ledger.readers], allowed)
    breaches += _check_failures([failure for failure in ledger.failures if failure.client in ledger.readers], allowed_to_readers)
    return breaches


def check_waiting(ledger: Ledger, since: float) -> list[Breach]:
    """Each client that has had no good answer since then."""
    return [Breach("client never went on", client) for client, times in ledger.successes.items() if not times or times[-1] <= since]


def _check_rows(writes: list[Write], stored: Counter) -> list[Breach]:
    breaches = []
    tried = set()
    for write in writes:
        tried.update(write.ids)
        there = [number for number in write.ids if stored[number]]
        if write.outcome == Outcome.ACKNOWLEDGED and len(there) < len(write.ids):
            breaches.append(Breach("acknowledged write lost", f"{write.client}, {sorted(set(write.ids) - set(there))}"))
        elif write.outcome == Outcome.FAILED and there:
            breaches.append(Breach("failed write is there", f"{write.client}, {there}"))
        elif 0 < len(there) < len(write.ids):
            breaches.append(Breach("half a transaction", f"{write.client}, {there} of {write.ids}"))
        breaches += [Breach("write done twice", f"{write.client}, {number}, {stored[number]} times") for number in there if stored[number] > 1]
    breaches += [Breach("row that nobody wrote", str(number)) for number in stored if number not in tried]
    return breaches


def _check_failures(failures: list[Failure], allowed: Allowed) -> list[Breach]:
    breaches = []
    for failure in failures:
        if failure.doing == Doing.LOGIN:
            if not allowed.failed_logins:
                breaches.append(Breach("failed login", str(failure)))
        elif failure.dropped:
            if not allowed.dropped_connections:
                breaches.append(Breach("dropped connection", str(failure)))
        elif failure.sqlstate not in allowed.errors[failure.doing]:
            breaches.append(Breach(f"error {failure.sqlstate}", str(failure)))
    return breaches
