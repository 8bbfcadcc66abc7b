"""Clients of many kinds at work through a pooler, each on a thread of its own, all written down in a ledger.

Eight stay connected and two log in for every statement; where replicas are looked at, some more read from those. They sleep between statements and inside them, so that most have a statement on a
server at any moment while the machine has little to do.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import psycopg2

from cluster import APPLICATION, DATABASE, Cluster
from ledger import FAILED_TRANSACTION, Doing, Failure, Ledger, Outcome, Read, Write, outcome_of_error
from reads import READ_DATABASES, REPLICAS_ELSE_PRIMARY, REPLICAS_ONLY

IDS_PER_CLIENT = 10_000_000
END_S_MAX = 20
# After a refused login, as a careful client would.
RETRY_S = 0.1
LOGIN_S_MAX = 120
# Long enough that statements are met by the event, and too short to be in the way.
IN_STATEMENT_S = 0.02
PAUSE_S = 0.02
ERRORS = (psycopg2.Error, psycopg.Error)

INSERT = "INSERT INTO ledger (id, client) SELECT %s, %s FROM pg_sleep(%s)"
SELECT = "SELECT pg_is_in_recovery(), EXISTS (SELECT FROM ledger WHERE id = %s) FROM pg_sleep(%s)"

READ = "SELECT host(inet_server_addr()) FROM pg_sleep(%s)"


@dataclass(frozen=True)
class Address:
    """Where the pooler listens."""

    port: int
    password: str

    def conninfo(self, database: str = DATABASE) -> str:
        return f"host=127.0.0.1 port={self.port} dbname={database} user={APPLICATION} password={self.password} connect_timeout={LOGIN_S_MAX}"


def prepare_table(cluster: Cluster) -> None:
    """No key: a row written twice must be seen as two."""
    leader = cluster.leader()
    leader.query(f"DROP TABLE IF EXISTS ledger; CREATE TABLE ledger (id bigint NOT NULL, client text NOT NULL); "
                 f"CREATE INDEX ON ledger (id); ALTER TABLE ledger OWNER TO {APPLICATION}", DATABASE)


def stored_ids(cluster: Cluster) -> Counter:
    return Counter(dict(cluster.leader().query("SELECT id, count(*) FROM ledger GROUP BY id", DATABASE)))


class Client:
    """One client. Its kind is the function it runs again and again; what that raises is noted and the next round begins."""

    def __init__(self, name: str, number: int, address: Address, ledger: Ledger, round_of: Callable[["Client"], None], stop: threading.Event,
                 prepares: bool = False, database: str = DATABASE):
        self.name = name
        self.ledger = ledger
        self.random = random.Random(number)
        self._ids = iter(range(number * IDS_PER_CLIENT, (number + 1) * IDS_PER_CLIENT))
        self._conninfo = address.conninfo(database)
        self.database = database
        self._round = round_of
        self._stop = stop
        self._connect = self._connect_psycopg3 if prepares else self._connect_psycopg2
        self._prepared = {"prepare": True} if prepares else {}
        self.connection = None
        ledger.add_client(name, is_reader=database in READ_DATABASES)
        self.thread = threading.Thread(target=self._run, daemon=True, name=name)

    def next_id(self) -> int:
        return next(self._ids)

    def execute(self, doing: Doing, sql: str, parameters: tuple = ()) -> list[tuple]:
        """One statement in one round trip; returns its rows. Notes an error, and raises it."""
        return self._answer(doing, lambda: self._statement(sql, parameters))

    def sleep(self, seconds: float) -> None:
        self._stop.wait(seconds * self.random.uniform(0.5, 1.5))

    def log_in(self) -> None:
        if not self.connection or self.connection.closed:
            self.connection = self._answer(Doing.LOGIN, self._connect)

    def log_out(self) -> None:
        if self.connection:
            self.connection.close()
        self.connection = None

    def insert(self, doing: Doing, number: int) -> None:
        self.execute(doing, INSERT, (number, self.name, IN_STATEMENT_S))

    def read(self, doing: Doing) -> None:
        """Reads from a replica, and notes from which."""
        began = time.monotonic()
        (server,), = self.execute(doing, READ, (IN_STATEMENT_S,))
        self.ledger.note_read(Read(self.name, began, server, self.database == REPLICAS_ELSE_PRIMARY))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.log_in()
            except ERRORS:
                self._stop.wait(RETRY_S)
                continue
            try:
                self._round(self)
            except ERRORS:
                self.sleep(PAUSE_S)  # noted where it was met
        self.log_out()

    def _connect_psycopg2(self) -> object:
        connection = psycopg2.connect(self._conninfo)
        connection.autocommit = True
        return connection

    def _connect_psycopg3(self) -> object:
        return psycopg.connect(self._conninfo, autocommit=True)

    def _statement(self, sql: str, parameters: tuple) -> list[tuple]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters, **self._prepared)
            if sql == "COMMIT" and cursor.statusmessage != "COMMIT":
                self.ledger.breach("rolled back without an error", f"{self.name}: COMMIT was answered with {cursor.statusmessage}")
            return cursor.fetchall() if cursor.description else []

    def _answer(self, doing: Doing, ask: Callable) -> object:
        self.ledger.want(self.name)
        try:
            answer = ask()
        except ERRORS as error:
            self._note(doing, error)
            raise
        if doing != Doing.LOGIN:
            self.ledger.succeed(self.name)
        return answer

    def _note(self, doing: Doing, error: Exception) -> None:
        dropped = doing != Doing.LOGIN and bool(self.connection.closed)
        text = " ".join(str(error).split())
        self.ledger.fail(Failure(time.monotonic(), self.name, doing, sqlstate_of(error), text, dropped))


def sqlstate_of(error: Exception) -> str | None:
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)


def _conclude(client: Client, write: Write, doing: Doing, error: Exception) -> None:
    client.ledger.end_write(write, outcome_of_error(doing, sqlstate_of(error), bool(client.connection.closed)))


def insert_alone(client: Client) -> None:
    write = client.ledger.begin_write(client.name, [client.next_id()])
    try:
        client.insert(Doing.SINGLE, write.ids[0])
    except ERRORS as error:
        _conclude(client, write, Doing.SINGLE, error)
        raise
    client.ledger.end_write(write, Outcome.ACKNOWLEDGED)
    client.sleep(PAUSE_S)


def insert_seldom(client: Client) -> None:
    """Idle nearly always: nothing may happen to it but time."""
    insert_alone(client)
    client.sleep(1.5)


def read_what_was_written(client: Client) -> None:
    """Whatever was acknowledged to anybody must be seen, and by the primary."""
    number = next((write.ids[-1] for write in reversed(client.ledger.writes.copy()) if write.outcome == Outcome.ACKNOWLEDGED), None)
    if number is not None:
        (in_recovery, seen), = client.execute(Doing.SINGLE, SELECT, (number, IN_STATEMENT_S))
        if in_recovery:
            client.ledger.breach("read from a standby", client.name)
        if not seen:
            client.ledger.breach("acknowledged write not seen", f"{client.name}, {number}")
    client.sleep(PAUSE_S)


def transaction(client: Client) -> None:
    """BEGIN, two writes, COMMIT, with time to think between them."""
    write = client.ledger.begin_write(client.name, [client.next_id(), client.next_id()])
    doing = Doing.BEGIN
    try:
        client.execute(doing, "BEGIN")
        doing = Doing.IN_TRANSACTION
        for number in write.ids:
            client.insert(doing, number)
            client.sleep(PAUSE_S)
        doing = Doing.COMMIT
        client.execute(doing, "COMMIT")
    except ERRORS as error:
        _conclude(client, write, doing, error)
        if not client.connection.closed:
            _leave_failed_transaction(client, doing)
        raise
    client.ledger.end_write(write, Outcome.ACKNOWLEDGED)
    client.sleep(PAUSE_S)


def _leave_failed_transaction(client: Client, failed_while: Doing) -> None:
    """The transaction must have stayed open, failed: what is sent before ROLLBACK would be a transaction of its own otherwise."""
    if client.connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INERROR:
        stray = client.ledger.begin_write(client.name, [client.next_id()])
        try:
            client.insert(Doing.FAILED_TRANSACTION, stray.ids[0])
            client.ledger.breach("statement ran in a failed transaction", f"{client.name}, {stray.ids}")
        except ERRORS as error:
            refused = sqlstate_of(error) == FAILED_TRANSACTION
            client.ledger.end_write(stray, Outcome.FAILED if refused else Outcome.IN_DOUBT)
    elif failed_while == Doing.IN_TRANSACTION:
        client.ledger.breach("failed transaction did not stay open", client.name)
    if not client.connection.closed:
        client.execute(Doing.ROLLBACK, "ROLLBACK")


def read_alone(client: Client) -> None:
    client.read(Doing.SINGLE)
    client.sleep(PAUSE_S)


def read_in_transaction(client: Client) -> None:
    doing = Doing.BEGIN
    try:
        client.execute(doing, "BEGIN")
        doing = Doing.IN_TRANSACTION
        for _ in range(2):
            client.read(doing)
            client.sleep(PAUSE_S)
        doing = Doing.COMMIT
        client.execute(doing, "COMMIT")
    except ERRORS:
        if not client.connection.closed:
            _leave_failed_transaction(client, doing)
        raise
    client.sleep(PAUSE_S)


def insert_and_log_out(client: Client) -> None:
    try:
        insert_alone(client)
    finally:
        client.log_out()


KINDS: list[tuple[str, int, Callable[[Client], None]]] = [
    ("writer", 2, insert_alone),
    ("idler", 1, insert_seldom),
    ("reader", 1, read_what_was_written),
    ("transactor", 2, transaction),
    ("preparer", 2, insert_alone),
    ("reconnector", 2, insert_and_log_out),
]
# Of replicas, with the database that leads there.
READERS: list[tuple[str, int, Callable[[Client], None], str]] = [
    ("replica_reader", 2, read_alone, REPLICAS_ONLY),
    ("replica_transactor", 1, read_in_transaction, REPLICAS_ONLY),
    ("fallback_reader", 2, read_alone, REPLICAS_ELSE_PRIMARY),
]


class Load:
    """The clients, from start() to end()."""

    def __init__(self, address: Address, ledger: Ledger, prepares: bool, read_databases: frozenset[str]):
        """Without `prepares` (PgBouncer before 1.21) those that would prepare are plain writers. Of the readers of replicas there are those that
        use the databases named."""
        self._stop = threading.Event()
        self._ledger = ledger
        self._clients = []
        for kind, count, round_of in KINDS:
            for number in range(1, count + 1):
                self._clients.append(Client(f"{kind}{number}", len(self._clients), address, ledger, round_of, self._stop,
                                            prepares and kind == "preparer"))
        for kind, count, round_of, database in READERS:
            for number in range(1, count + 1 if database in read_databases else 1):
                self._clients.append(Client(f"{kind}{number}", len(self._clients), address, ledger, round_of, self._stop, database=database))

    def start(self) -> None:
        for client in self._clients:
            client.thread.start()

    def all_succeeded_since(self, since: float) -> bool:
        return all(times and times[-1] > since for times in list(self._ledger.successes.values()))

    def stop(self, seconds_max: float) -> None:
        """Lets the clients end their rounds; those that still wait then have their ledger closed on them."""
        self._stop.set()
        until = time.monotonic() + seconds_max
        for client in self._clients:
            client.thread.join(max(0.0, until - time.monotonic()))
        self._ledger.closed.set()

    def join(self) -> bool:
        """After the pooler has ended: whether all threads have."""
        until = time.monotonic() + END_S_MAX
        for client in self._clients:
            client.thread.join(max(0.0, until - time.monotonic()))
        return not any(client.thread.is_alive() for client in self._clients)
