#!/usr/bin/python3
"""psycopg 3 (libpq, extended protocol, prepared statements, pipeline mode) through the pooler; run by harness.py."""

import asyncio
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from endpoint import DIRECT, POOLER, PREPARED_MAX, SERVER, TLS, assert_servers_shared, not_carried

CLIENTS = 20


def connect(**changes):
    return psycopg.connect(**{**POOLER._asdict(), **changes})


def autocommit(**changes):
    return connect(autocommit=True, **changes)


async def connect_async(**changes):
    return await psycopg.AsyncConnection.connect(**{**POOLER._asdict(), **changes})


def one(connection, query, arguments=None, **options):
    """The first column of the first row."""
    return connection.execute(query, arguments, **options).fetchone()[0]


def wait_until_running(marker):
    """Returns once the server is at work on a query that contains the marker."""
    with psycopg.connect(**SERVER._asdict(), autocommit=True) as observer:
        while not one(observer, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s "
                                "AND pid <> pg_backend_pid()", (f"%{marker}%",)):
            time.sleep(0.02)


class Login(unittest.TestCase):
    def test_right_password(self):
        with connect() as connection:
            self.assertEqual(one(connection, "SELECT current_user"), POOLER.user)
            self.assertEqual(connection.pgconn.ssl_in_use, TLS)
            self.assertEqual(one(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), TLS)
            self.assertEqual(connection.info.dbname, POOLER.dbname)
            self.assertEqual(connection.info.parameter_status("standard_conforming_strings"), "on")

    def test_wrong_password_and_unknown_user_look_the_same(self):
        for changes in {"password": "wrong"}, {"user": "nobody"}:
            with self.subTest(changes), self.assertRaises(psycopg.OperationalError) as raised:
                connect(**changes)
            self.assertRegex(str(raised.exception), "FATAL: .*authentication failed")


class Transactions(unittest.TestCase):
    def setUp(self):
        with connect() as connection:
            connection.execute("DROP TABLE IF EXISTS account")
            connection.execute("CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)")
            connection.execute("INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id")

    def test_commit_rollback_and_nesting(self):
        with autocommit() as connection, autocommit() as reader:
            with connection.transaction():
                connection.execute("UPDATE account SET balance = 1 WHERE id = 1")
                with self.assertRaises(errors.UniqueViolation), connection.transaction():
                    connection.execute("UPDATE account SET balance = 2 WHERE id = 2")
                    connection.execute("INSERT INTO account VALUES (1, 0)")
                self.assertEqual(one(reader, "SELECT balance FROM account WHERE id = 1"), 1000)
            self.assertEqual(one(reader, "SELECT balance FROM account WHERE id = 1"), 1)
            self.assertEqual(one(reader, "SELECT balance FROM account WHERE id = 2"), 1000)
            with connection.transaction(force_rollback=True):
                connection.execute("DELETE FROM account")
            self.assertEqual(one(reader, "SELECT count(*) FROM account"), 10)

    def test_isolation_level_belongs_to_one_client(self):
        with connect() as strict, connect() as plain:
            strict.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            strict.read_only = True
            for _ in range(5):
                self.assertEqual(one(strict, "SHOW transaction_isolation"), "repeatable read")
                self.assertEqual(one(plain, "SHOW transaction_isolation"), "read committed")
                self.assertEqual(one(strict, "SHOW transaction_read_only"), "on")
                self.assertEqual(one(plain, "SHOW transaction_read_only"), "off")
                strict.rollback()
                plain.commit()

    def test_a_snapshot_lasts_for_its_transaction(self):
        with connect() as reader, autocommit() as writer:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self.assertEqual(one(reader, "SELECT sum(balance) FROM account"), 10000)
            writer.execute("UPDATE account SET balance = 0")
            self.assertEqual(one(reader, "SELECT sum(balance) FROM account"), 10000)
            reader.commit()
            self.assertEqual(one(reader, "SELECT sum(balance) FROM account"), 0)

    def test_serialization_failures_are_retried(self):
        def increment(_):
            with connect() as connection:
                connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
                while True:
                    try:
                        balance = one(connection, "SELECT balance FROM account WHERE id = 1")
                        connection.execute("UPDATE account SET balance = %s WHERE id = 1", (balance + 1,))
                        connection.commit()
                        return
                    except errors.SerializationFailure:
                        connection.rollback()

        with ThreadPoolExecutor(CLIENTS) as executor:
            list(executor.map(increment, range(CLIENTS)))
        with connect() as connection:
            self.assertEqual(one(connection, "SELECT balance FROM account WHERE id = 1"), 1000 + CLIENTS)

    def test_many_clients_keep_one_total(self):
        ready = threading.Barrier(CLIENTS, timeout=60)
        backends = []

        def transfer(number):
            with connect(prepare_threshold=1) as connection:
                ready.wait()
                for step in range(20):
                    first, second = sorted(((number + step) % 10 + 1, (number * 3 + step * 7) % 10 + 1))
                    backend = one(connection, "SELECT pg_backend_pid()")
                    connection.execute("UPDATE account SET balance = balance - 7 WHERE id = %s", (first,))
                    connection.execute("UPDATE account SET balance = balance + 7 WHERE id = %s", (second,))
                    self.assertEqual(one(connection, "SELECT sum(balance) FROM account"), 10000)
                    self.assertEqual(one(connection, "SELECT pg_backend_pid()"), backend)
                    connection.commit()
                    backends.append(backend)
                ready.wait()

        with ThreadPoolExecutor(CLIENTS) as executor:
            list(executor.map(transfer, range(CLIENTS)))
        assert_servers_shared(self, backends, CLIENTS)


class Prepared(unittest.TestCase):
    def test_statements_are_used_on_many_servers(self):
        ready = threading.Barrier(CLIENTS, timeout=60)
        backends = []

        def work(number):
            with autocommit(prepare_threshold=0) as connection:
                ready.wait()
                for step in range(60):
                    total, backend = connection.execute("SELECT %s::int + %s::int, pg_backend_pid()",
                                                        (number, step)).fetchone()
                    self.assertEqual(total, number + step)
                    text = one(connection, "SELECT %s::text || pg_backend_pid()", (f"{step % 7} ",))
                    self.assertTrue(text.startswith(f"{step % 7} "))
                    backends.append(backend)
                ready.wait()

        with ThreadPoolExecutor(CLIENTS) as executor:
            list(executor.map(work, range(CLIENTS)))
        assert_servers_shared(self, backends, CLIENTS)

    @not_carried
    def test_more_statements_than_fit(self):
        """Three times what a server keeps; psycopg itself keeps 100 and sends DEALLOCATE for the rest."""
        with autocommit(prepare_threshold=0) as first, autocommit(prepare_threshold=0) as second:
            for _ in range(2):
                for number in range(3 * PREPARED_MAX):
                    for connection in first, second:
                        self.assertEqual(one(connection, f"SELECT %s::int + {number}", (1,)), number + 1)

    def test_threshold(self):
        with autocommit(prepare_threshold=3) as connection:
            for number in range(10):
                self.assertEqual(one(connection, "SELECT %s::int8 * 2", (number,)), number * 2)

    def test_rollback_drops_the_drivers_statements(self):
        """After ROLLBACK and after DDL psycopg forgets its statements and sends DEALLOCATE ALL."""
        with connect(prepare_threshold=0) as connection, autocommit(prepare_threshold=0) as neighbour:
            for number in range(10):
                self.assertEqual(one(connection, "SELECT %s::int + 5", (number,)), number + 5)
                connection.rollback()
                self.assertEqual(one(neighbour, "SELECT %s::int + 5", (number,)), number + 5)
                self.assertEqual(one(neighbour, "SELECT %s::int - 5", (number,)), number - 5)

    def test_a_statement_with_an_error_in_it(self):
        with autocommit(prepare_threshold=0) as connection:
            for _ in range(3):
                with self.assertRaises(errors.UndefinedColumn):
                    connection.execute("SELECT no_such_column + %s", (1,))
                with self.assertRaises(errors.DivisionByZero):
                    connection.execute("SELECT 1 / %s::int", (0,))
                self.assertEqual(one(connection, "SELECT 8 / %s::int", (2,)), 4)

    @not_carried
    def test_a_new_client_after_a_change_of_the_table(self):
        """A server that prepared SELECT * before the change must not pass its stale plan to a client that came later."""
        query = "SELECT * FROM changing WHERE a = %s"
        with autocommit(prepare_threshold=None) as owner, autocommit(prepare_threshold=0) as early:
            owner.execute("DROP TABLE IF EXISTS changing")
            owner.execute("CREATE TABLE changing (a int)")
            owner.execute("INSERT INTO changing VALUES (1)")
            for _ in range(3):
                self.assertEqual(early.execute(query, (1,)).fetchall(), [(1,)])
            owner.execute("ALTER TABLE changing ADD COLUMN b text DEFAULT 'new'")
            with autocommit(prepare_threshold=0) as late:
                for _ in range(3):
                    self.assertEqual(late.execute(query, (1,)).fetchall(), [(1, "new")])

    def test_executemany(self):
        """executemany runs in pipeline mode, with one prepared statement."""
        with connect() as connection:
            connection.execute("DROP TABLE IF EXISTS batch")
            connection.execute("CREATE TABLE batch (id int, name text)")
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO batch VALUES (%s, %s)", [(n, f"name {n}") for n in range(3000)])
                cursor.executemany("INSERT INTO batch VALUES (%s, %s) RETURNING id", [(n, "") for n in range(50)],
                                   returning=True)
                returned = [cursor.fetchone()[0]]
                while cursor.nextset():
                    returned.append(cursor.fetchone()[0])
            self.assertEqual(returned, list(range(50)))
            connection.commit()
            self.assertEqual(one(connection, "SELECT count(*) FROM batch"), 3050)


class Pipeline(unittest.TestCase):
    def test_many_queries_in_flight(self):
        self.assertTrue(psycopg.Pipeline.is_supported())
        with autocommit(prepare_threshold=0) as connection, connection.pipeline() as pipeline:
            cursors = [connection.execute("SELECT %s::int, repeat('x', %s)", (n, n % 50)) for n in range(1000)]
            pipeline.sync()
            for number, cursor in enumerate(cursors):
                self.assertEqual(cursor.fetchone(), (number, "x" * (number % 50)))

    def test_several_transactions_in_one_pipeline(self):
        with autocommit() as connection:
            connection.execute("DROP TABLE IF EXISTS piped")
            connection.execute("CREATE TABLE piped (n int)")
            with connection.pipeline() as pipeline:
                for number in range(20):
                    with connection.transaction():
                        connection.execute("INSERT INTO piped VALUES (%s)", (number,))
                    pipeline.sync()
            self.assertEqual(one(connection, "SELECT count(*) FROM piped"), 20)

    def test_an_error_aborts_up_to_the_next_sync(self):
        with autocommit(prepare_threshold=0) as connection:
            with connection.pipeline() as pipeline:
                before = connection.execute("SELECT %s::int", (1,))
                broken, skipped = connection.cursor(), connection.cursor()
                broken.execute("SELECT 1 / %s::int", (0,))
                # The server tells of the error at once, and whatever is called when it has come raises it.
                raised = []
                for call in (lambda: skipped.execute("SELECT %s::int", (2,))), pipeline.sync:
                    try:
                        call()
                    except psycopg.Error as error:
                        raised.append(error)
                self.assertIsInstance(raised[0], errors.DivisionByZero)
                after = connection.execute("SELECT %s::int", (3,))
                pipeline.sync()
                self.assertEqual(before.fetchone(), (1,))
                for cursor in broken, skipped:
                    with self.assertRaises(psycopg.Error):
                        cursor.fetchone()
                self.assertEqual(after.fetchone(), (3,))
            self.assertEqual(connection.info.transaction_status, TransactionStatus.IDLE)
            self.assertEqual(one(connection, "SELECT %s::int", (4,)), 4)

    def test_pipelines_of_many_clients(self):
        def work(client):
            with autocommit(prepare_threshold=0) as connection:
                for _ in range(5):
                    with connection.pipeline() as pipeline:
                        cursors = []
                        for number in range(40):
                            cursors.append(connection.execute("SELECT %s::int * 1000 + %s::int", (client, number)))
                            if number % 4 == 0:
                                pipeline.sync()
                        pipeline.sync()
                        for number, cursor in enumerate(cursors):
                            self.assertEqual(cursor.fetchone()[0], client * 1000 + number)

        with ThreadPoolExecutor(CLIENTS) as executor:
            list(executor.map(work, range(CLIENTS)))


class Copy(unittest.TestCase):
    ROWS = 40_000

    def setUp(self):
        with connect() as connection:
            connection.execute("DROP TABLE IF EXISTS copied")
            connection.execute("CREATE TABLE copied (id int PRIMARY KEY, text text)")

    def test_text_in_and_out(self):
        lines = [f"{number}\t{'grüße-' * 15}{number}\n".encode() for number in range(self.ROWS)]
        with connect() as connection, connection.cursor() as cursor:
            with cursor.copy("COPY copied FROM STDIN") as copy:
                for line in lines:
                    copy.write(line)
            self.assertEqual(cursor.rowcount, self.ROWS)
            connection.commit()
            with cursor.copy("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT") as copy:
                self.assertEqual(b"".join(bytes(part) for part in copy), b"".join(lines))

    def test_binary_rows(self):
        with connect() as connection, connection.cursor() as cursor:
            with cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int4", "text"])
                for number in range(5000):
                    copy.write_row((number, f"row {number}"))
            with cursor.copy("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
                copy.set_types(["int4", "text"])
                self.assertEqual(list(copy.rows()), [(number, f"row {number}") for number in range(5000)])

    def test_a_copy_given_up_by_the_client(self):
        with connect() as connection, connection.cursor() as cursor:
            with self.assertRaises(errors.QueryCanceled), cursor.copy("COPY copied FROM STDIN") as copy:
                copy.write(b"1\tone\n")
                raise RuntimeError("the source broke")
            connection.rollback()
            self.assertEqual(one(connection, "SELECT count(*) FROM copied"), 0)

    def test_a_copy_out_given_up_by_the_client(self):
        """Leaving the block early cancels the COPY; the connection stays usable."""
        with connect() as connection, connection.cursor() as cursor:
            with self.assertRaises(RuntimeError):
                with cursor.copy("COPY (SELECT repeat('x', 100) FROM generate_series(1, 200000)) TO STDOUT") as copy:
                    self.assertTrue(copy.read())
                    raise RuntimeError("enough")
            connection.rollback()
            self.assertEqual(one(connection, "SELECT 1"), 1)

    def test_a_bad_row(self):
        with autocommit() as connection, connection.cursor() as cursor:
            with self.assertRaises(errors.InvalidTextRepresentation), cursor.copy("COPY copied FROM STDIN") as copy:
                for number in range(1000):
                    copy.write(f"{number}\tx\n")
                copy.write("not a number\tx\n")
            self.assertEqual(one(connection, "SELECT count(*) FROM copied"), 0)


class Cancel(unittest.TestCase):
    def test_cancel_hits_its_own_query_alone(self):
        stop = threading.Event()

        def neighbour(number):
            with autocommit(prepare_threshold=0) as connection:
                queries = 0
                while not stop.is_set():
                    self.assertEqual(one(connection, "SELECT %s::int + 1", (number,)), number + 1)
                    queries += 1
                return queries

        with ThreadPoolExecutor(CLIENTS) as executor:
            neighbours = [executor.submit(neighbour, number) for number in range(8)]
            try:
                with autocommit() as sleeper:
                    for number in range(5):
                        marker = f"psycopg cancel {number}"
                        sleep = executor.submit(sleeper.execute, f"SELECT pg_sleep(60) /* {marker} */")
                        wait_until_running(marker)
                        sleeper.cancel()
                        with self.assertRaises(errors.QueryCanceled):
                            sleep.result()
                        self.assertEqual(one(sleeper, "SELECT 42"), 42)
            finally:
                stop.set()
            for each in neighbours:
                self.assertGreater(each.result(), 0)


class Errors(unittest.TestCase):
    def test_each_error_has_its_class_and_leaves_the_connection_usable(self):
        with autocommit() as connection:
            connection.execute("DROP TABLE IF EXISTS constrained")
            connection.execute("CREATE TABLE constrained (id int PRIMARY KEY, amount int CONSTRAINT positive CHECK (amount > 0))")
            connection.execute("INSERT INTO constrained VALUES (1, 1)")
            cases = [
                ("SELEC %s", (1,), errors.SyntaxError),
                ("SELECT * FROM no_such_table", None, errors.UndefinedTable),
                ("SELECT 1 / %s::int", (0,), errors.DivisionByZero),
                ("SELECT %s::int", ("x",), errors.InvalidTextRepresentation),
                ("INSERT INTO constrained VALUES (%s, 1)", (1,), errors.UniqueViolation),
                ("INSERT INTO constrained VALUES (2, %s)", (-1,), errors.CheckViolation),
            ]
            for prepare in False, True:
                for query, arguments, error in cases:
                    with self.subTest(query, prepare=prepare):
                        with self.assertRaises(error):
                            connection.execute(query, arguments, prepare=prepare)
                        self.assertEqual(one(connection, "SELECT 1"), 1)
            with self.assertRaises(errors.CheckViolation) as raised:
                connection.execute("INSERT INTO constrained VALUES (3, 0)")
            self.assertEqual(raised.exception.diag.constraint_name, "positive")

    def test_a_failed_transaction_stays_failed_until_rollback(self):
        with connect() as connection:
            with self.assertRaises(errors.DivisionByZero):
                connection.execute("SELECT 1 / %s::int", (0,), prepare=True)
            with self.assertRaises(errors.InFailedSqlTransaction):
                connection.execute("SELECT 1")
            connection.rollback()
            self.assertEqual(one(connection, "SELECT 1"), 1)


class Data(unittest.TestCase):
    def test_unicode_and_bytes(self):
        text = "Zażółć gęślą jaźń, 你好, 🐘, \u202e, '\"\\ \t\n"
        data = bytes(range(256)) * 4096
        for binary in False, True:
            with self.subTest(binary=binary), autocommit() as connection, connection.cursor(binary=binary) as cursor:
                placeholders = "SELECT %b::text, %b::bytea" if binary else "SELECT %t::text, %t::bytea"
                self.assertEqual(cursor.execute(placeholders, (text, data)).fetchone(), (text, data))

    def test_types_in_binary(self):
        with autocommit() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute("SELECT 1::int2, 2::int8, 1.5::float8, 12345.678::numeric, true, '2026-01-02'::date, ARRAY[1,2,3]")
            row = cursor.fetchone()
        self.assertEqual([str(value) for value in row],
                         ["1", "2", "1.5", "12345.678", "True", "2026-01-02", "[1, 2, 3]"])

    def test_server_side_cursor(self):
        with connect() as connection, connection.cursor("walk") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT n FROM generate_series(1, %s) AS n", (2500,))
            self.assertEqual([row[0] for row in cursor], list(range(1, 2501)))

    def test_stream(self):
        """Single-row mode, with rows enough to fill every buffer on the way."""
        with connect() as connection, connection.cursor() as cursor:
            total = sum(n for n, _ in cursor.stream("SELECT n, repeat('x', 200) FROM generate_series(1, 50000) AS n"))
            self.assertEqual(total, 1_250_025_000)

    def test_notices(self):
        heard = {"loud": [], "quiet": []}
        with autocommit() as loud, autocommit() as quiet:
            loud.add_notice_handler(lambda notice: heard["loud"].append(notice.message_primary))
            quiet.add_notice_handler(lambda notice: heard["quiet"].append(notice.message_primary))
            for number in range(10):
                loud.execute(sql.SQL("DO $$ BEGIN RAISE NOTICE {}; END $$").format(f"notice {number}"))
                one(quiet, "SELECT 1")
        self.assertEqual(heard, {"loud": [f"notice {number}" for number in range(10)], "quiet": []})


class Settings(unittest.TestCase):
    def test_startup_settings_belong_to_their_client(self):
        with autocommit() as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS left_side")
            connection.execute("CREATE SCHEMA IF NOT EXISTS right_side")
        options = "-c search_path={0}_side -c TimeZone={1} -c work_mem={2} -c IntervalStyle={3}"
        wanted = {
            "left": ("Asia/Tokyo", "3MB", "iso_8601"),
            "right": ("America/New_York", "7MB", "sql_standard"),
        }
        backends = {"left": set(), "right": set()}

        def open_client(side):
            return autocommit(application_name=side, prepare_threshold=0, options=options.format(side, *wanted[side]))

        with open_client("left") as left, open_client("right") as right:
            for _ in range(10):
                for side, connection in ("left", left), ("right", right):
                    row = connection.execute(
                        "SELECT current_setting('application_name'), current_setting('search_path'), "
                        "current_setting('TimeZone'), current_setting('work_mem'), current_setting('IntervalStyle'), "
                        "pg_backend_pid()").fetchone()
                    self.assertEqual(row[:5], (side, f"{side}_side", *wanted[side]))
                    self.assertEqual(connection.info.parameter_status("IntervalStyle"), wanted[side][2])
                    backends[side].add(row[5])
        if DIRECT:
            self.assertFalse(backends["left"] & backends["right"])
        else:
            self.assertTrue(backends["left"] & backends["right"], "the two never shared a server")


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    async def test_many_clients(self):
        backends = []
        all_connected = asyncio.Event()
        connected = 0

        async def work(number):
            nonlocal connected
            async with await connect_async(prepare_threshold=1) as connection:
                connected += 1
                if connected == CLIENTS:
                    all_connected.set()
                await all_connected.wait()
                for step in range(20):
                    async with connection.transaction():
                        cursor = await connection.execute("SELECT %s::int + %s::int, pg_backend_pid()", (number, step))
                        total, backend = await cursor.fetchone()
                        await connection.execute("SELECT pg_sleep(0.001)")
                        cursor = await connection.execute("SELECT pg_backend_pid()")
                        self.assertEqual(await cursor.fetchone(), (backend,))
                        self.assertEqual(total, number + step)
                        backends.append(backend)

        await asyncio.gather(*(work(number) for number in range(CLIENTS)))
        assert_servers_shared(self, backends, CLIENTS)

    async def test_copy_pipeline_and_cursor(self):
        async with await connect_async() as connection:
            await connection.execute("DROP TABLE IF EXISTS copied_async")
            await connection.execute("CREATE TABLE copied_async (id int, text text)")
            async with connection.cursor() as cursor:
                async with cursor.copy("COPY copied_async FROM STDIN") as copy:
                    for number in range(10_000):
                        await copy.write_row((number, f"row {number}"))
            await connection.commit()
            async with connection.pipeline():
                cursors = [await connection.execute("SELECT text FROM copied_async WHERE id = %s", (n,)) for n in range(20)]
                texts = [(await cursor.fetchone())[0] for cursor in cursors]
            self.assertEqual(texts, [f"row {number}" for number in range(20)])
            async with connection.cursor("walk") as cursor:
                cursor.itersize = 500
                await cursor.execute("SELECT id FROM copied_async ORDER BY id")
                self.assertEqual([row[0] async for row in cursor], list(range(10_000)))

    async def test_cancel(self):
        async with await connect_async(autocommit=True) as connection:
            marker = "psycopg asynchronous cancel"
            task = asyncio.create_task(connection.execute(f"SELECT pg_sleep(60) /* {marker} */"))
            await asyncio.to_thread(wait_until_running, marker)
            await asyncio.to_thread(connection.cancel)
            with self.assertRaises(errors.QueryCanceled):
                await task
            cursor = await connection.execute("SELECT 42")
            self.assertEqual(await cursor.fetchone(), (42,))


@unittest.skipIf(DIRECT, "a direct connection ends with its server")
class LostServer(unittest.TestCase):
    def test_a_transaction_fails_and_the_connection_goes_on(self):
        with connect(prepare_threshold=0) as connection, autocommit() as other:
            for end in connection.rollback, connection.commit:
                backend = one(connection, "SELECT pg_backend_pid()")
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))
                with self.assertRaises(errors.AdminShutdown):
                    connection.execute("SELECT %s::int", (1,))
                self.assertEqual(connection.info.transaction_status, TransactionStatus.INERROR)
                with self.assertRaises(errors.InFailedSqlTransaction):
                    connection.execute("SELECT %s::int", (1,))
                end()
                self.assertEqual(one(connection, "SELECT %s::int", (1,)), 1)
                connection.rollback()

    def test_in_a_pipeline(self):
        with connect() as connection, autocommit() as other:
            backend = one(connection, "SELECT pg_backend_pid()")
            other.execute("SELECT pg_terminate_backend(%s, 5000)", (backend,))
            with self.assertRaises(errors.AdminShutdown), connection.pipeline():
                connection.execute("SELECT 1")
                connection.execute("SELECT 2")
            connection.rollback()
            self.assertEqual(one(connection, "SELECT 1"), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
