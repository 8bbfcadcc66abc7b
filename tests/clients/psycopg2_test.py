#!/usr/bin/python3
"""psycopg2 (libpq, simple protocol) through the pooler; run by harness.py."""

import io
import select
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras

from endpoint import DIRECT, POOLER, SERVER, TLS, assert_servers_shared, not_carried

CLIENTS = 20


def connect(**changes):
    """A client connection; closing() ends it, `with` on a connection only ends a transaction."""
    return closing(psycopg2.connect(**{**POOLER._asdict(), **changes}))


def autocommit(**changes):
    connection = psycopg2.connect(**{**POOLER._asdict(), **changes})
    connection.autocommit = True
    return closing(connection)


def one(connection, query, arguments=None):
    """The first column of the first row."""
    with connection.cursor() as cursor:
        cursor.execute(query, arguments)
        return cursor.fetchone()[0]


def run(connection, query, arguments=None):
    with connection.cursor() as cursor:
        cursor.execute(query, arguments)


def wait_until_running(marker):
    """Returns once the server is at work on a query that contains the marker."""
    with autocommit(**SERVER._asdict()) as observer:
        while not one(observer, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s "
                                "AND pid <> pg_backend_pid()", (f"%{marker}%",)):
            time.sleep(0.02)


class Login(unittest.TestCase):
    def test_right_password(self):
        with autocommit() as connection:
            self.assertEqual(one(connection, "SELECT current_user"), POOLER.user)
            self.assertEqual(connection.info.ssl_in_use, TLS)
            self.assertEqual(one(connection, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), TLS)
            self.assertEqual(one(connection, "SELECT current_database()"), POOLER.dbname)
            self.assertGreaterEqual(connection.server_version, 150000)
            self.assertEqual(connection.get_parameter_status("integer_datetimes"), "on")
            self.assertEqual(connection.get_parameter_status("client_encoding"), "UTF8")

    def test_wrong_password_and_unknown_user_look_the_same(self):
        for changes in {"password": "wrong"}, {"user": "nobody"}:
            with self.subTest(changes), self.assertRaises(psycopg2.OperationalError) as raised:
                connect(**changes)
            self.assertRegex(str(raised.exception), "FATAL: .*authentication failed")

    def test_unknown_database(self):
        with self.assertRaises(psycopg2.OperationalError) as raised:
            connect(dbname="no_such_database")
        self.assertIn("no_such_database", str(raised.exception))


class Transactions(unittest.TestCase):
    def setUp(self):
        with autocommit() as connection:
            run(connection, "DROP TABLE IF EXISTS account; CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);"
                            "INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id")

    def test_commit_and_rollback(self):
        with connect() as writer, autocommit() as reader:
            run(writer, "UPDATE account SET balance = 1 WHERE id = 1")
            self.assertEqual(one(reader, "SELECT balance FROM account WHERE id = 1"), 1000)
            writer.rollback()
            self.assertEqual(one(reader, "SELECT balance FROM account WHERE id = 1"), 1000)
            run(writer, "UPDATE account SET balance = 2 WHERE id = 1")
            writer.commit()
            self.assertEqual(one(reader, "SELECT balance FROM account WHERE id = 1"), 2)

    def test_a_vanished_client_leaves_nothing_behind(self):
        with connect() as writer:
            run(writer, "UPDATE account SET balance = 3 WHERE id = 1")
        with autocommit() as other:
            run(other, "UPDATE account SET balance = balance + 1 WHERE id = 1")  # no lock is in the way
            self.assertEqual(one(other, "SELECT balance FROM account WHERE id = 1"), 1001)
            self.assertEqual(other.info.transaction_status, psycopg2.extensions.TRANSACTION_STATUS_IDLE)

    def test_savepoints(self):
        with connect() as connection:
            run(connection, "UPDATE account SET balance = 5 WHERE id = 5; SAVEPOINT before")
            with self.assertRaises(psycopg2.errors.UniqueViolation):
                run(connection, "INSERT INTO account VALUES (1, 0)")
            run(connection, "ROLLBACK TO SAVEPOINT before")
            connection.commit()
            self.assertEqual(one(connection, "SELECT balance FROM account WHERE id = 5"), 5)

    def test_isolation_level_belongs_to_one_client(self):
        with connect() as serializable, connect() as plain:
            serializable.set_session(isolation_level="SERIALIZABLE", readonly=True)
            for _ in range(5):
                self.assertEqual(one(serializable, "SHOW transaction_isolation"), "serializable")
                self.assertEqual(one(plain, "SHOW transaction_isolation"), "read committed")
                with self.assertRaises(psycopg2.errors.ReadOnlySqlTransaction):
                    run(serializable, "DELETE FROM account")
                serializable.rollback()
                plain.rollback()

    def test_many_clients_transfer_while_a_reader_sees_one_total(self):
        backends, totals, done = [], [], threading.Event()
        ready = threading.Barrier(CLIENTS, timeout=60)

        def transfer(number):
            with connect() as connection:
                ready.wait()
                for step in range(15):
                    first, second = sorted(((number + step) % 10 + 1, (number * 3 + step * 7) % 10 + 1))
                    backend = one(connection, "SELECT pg_backend_pid()")
                    run(connection, "UPDATE account SET balance = balance - 7 WHERE id = %s", (first,))
                    run(connection, "UPDATE account SET balance = balance + 7 WHERE id = %s", (second,))
                    self.assertEqual(one(connection, "SELECT pg_backend_pid()"), backend)
                    if step % 3 == 0:
                        connection.rollback()
                    else:
                        connection.commit()
                    backends.append(backend)
                ready.wait()  # nobody leaves while another still works

        def watch():
            with autocommit() as connection:
                while not done.is_set():
                    totals.append(one(connection, "SELECT sum(balance) FROM account"))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            with ThreadPoolExecutor(CLIENTS) as executor:
                list(executor.map(transfer, range(CLIENTS)))
        finally:
            done.set()
            watcher.join()
        self.assertEqual(set(totals), {10000})
        self.assertEqual(len(backends), CLIENTS * 15)
        assert_servers_shared(self, backends, CLIENTS)


class Prepared(unittest.TestCase):
    def test_sql_prepare_inside_a_transaction(self):
        with connect() as connection:
            for number in range(20):
                run(connection, "PREPARE twice (int) AS SELECT $1 * 2")
                self.assertEqual(one(connection, "EXECUTE twice (%s)", (number,)), number * 2)
                run(connection, "DEALLOCATE twice")
                connection.commit()

    def test_batches(self):
        rows = [(number, f"name {number}") for number in range(5000)]
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS batch; CREATE TABLE batch (id int, name text)")
            psycopg2.extras.execute_values(cursor, "INSERT INTO batch VALUES %s", rows, page_size=500)
            psycopg2.extras.execute_batch(cursor, "UPDATE batch SET name = upper(name) WHERE id = %s", [(1,), (2,), (3,)])
            connection.commit()
            self.assertEqual(one(connection, "SELECT count(*) FROM batch"), 5000)
            self.assertEqual(one(connection, "SELECT count(*) FROM batch WHERE name LIKE 'NAME%'"), 3)


class Copy(unittest.TestCase):
    ROWS = 60_000

    def setUp(self):
        with autocommit() as connection:
            run(connection, "DROP TABLE IF EXISTS copied; CREATE TABLE copied (id int PRIMARY KEY, text text)")

    def test_in_and_out(self):
        data = "".join(f"{number}\t{'grüße-' * 10}{number}\n" for number in range(self.ROWS))
        self.assertGreater(len(data.encode()), 4_000_000)
        out = io.StringIO()
        with connect() as connection, connection.cursor() as cursor:
            cursor.copy_from(io.StringIO(data), "copied")
            connection.commit()
            self.assertEqual(one(connection, "SELECT count(*) FROM copied"), self.ROWS)
            connection.rollback()
            cursor.copy_expert("COPY (SELECT * FROM copied ORDER BY id) TO STDOUT", out)
        self.assertEqual(out.getvalue(), data)

    def test_a_bad_row_fails_the_copy_and_not_the_connection(self):
        data = "".join(f"{number}\tx\n" for number in range(20_000)) + "7\tagain\n"
        with connect() as connection, connection.cursor() as cursor:
            with self.assertRaises(psycopg2.errors.UniqueViolation):
                cursor.copy_from(io.StringIO(data), "copied")
            connection.rollback()
            self.assertEqual(one(connection, "SELECT count(*) FROM copied"), 0)

    def test_a_source_that_raises_is_a_copy_fail(self):
        class Broken:
            parts = ["1\tone\n"]

            def read(self, _):
                if self.parts:
                    return self.parts.pop()
                raise RuntimeError("the source broke")

        with connect() as connection, connection.cursor() as cursor:
            with self.assertRaises(psycopg2.errors.QueryCanceled):
                cursor.copy_expert("COPY copied FROM STDIN", Broken())
            connection.rollback()
            self.assertEqual(one(connection, "SELECT count(*) FROM copied"), 0)

    def test_many_copies_at_once(self):
        def copy(client):
            data = "".join(f"{client * 2000 + number}\t{client}\n" for number in range(2000))
            with connect() as connection, connection.cursor() as cursor:
                cursor.copy_from(io.StringIO(data), "copied")
                connection.commit()
                out = io.StringIO()
                cursor.copy_expert(f"COPY (SELECT * FROM copied WHERE text = '{client}' ORDER BY id) TO STDOUT", out)
                self.assertEqual(out.getvalue(), data)

        with ThreadPoolExecutor(CLIENTS) as executor:
            list(executor.map(copy, range(CLIENTS)))


class Cancel(unittest.TestCase):
    def test_cancel_hits_its_own_query_alone(self):
        stop = threading.Event()

        def neighbour(number):
            with autocommit() as connection:
                queries = 0
                while not stop.is_set():
                    self.assertEqual(one(connection, "SELECT %s + 1", (number,)), number + 1)
                    queries += 1
                return queries

        with ThreadPoolExecutor(CLIENTS) as executor:
            neighbours = [executor.submit(neighbour, number) for number in range(8)]
            try:
                with autocommit() as sleeper:
                    for round_number in range(5):
                        marker = f"psycopg2 cancel {round_number}"
                        sleep = executor.submit(run, sleeper, f"SELECT pg_sleep(60) /* {marker} */")
                        wait_until_running(marker)
                        sleeper.cancel()
                        with self.assertRaises(psycopg2.errors.QueryCanceled):
                            sleep.result()
                        self.assertEqual(one(sleeper, "SELECT 42"), 42)
            finally:
                stop.set()
            for each in neighbours:
                self.assertGreater(each.result(), 0)

    def test_cancel_of_an_idle_client_does_nothing(self):
        with autocommit() as idle, autocommit() as other:
            self.assertEqual(one(idle, "SELECT 1"), 1)
            for _ in range(20):
                idle.cancel()
                self.assertEqual(one(other, "SELECT 2"), 2)
            # As on a direct connection, a cancel that came too late may still meet the client's next query.
            try:
                one(idle, "SELECT 3")
            except psycopg2.errors.QueryCanceled:
                pass
            self.assertEqual(one(idle, "SELECT 4"), 4)

    def test_statement_timeout_of_one_transaction(self):
        with connect() as connection:
            run(connection, "SET LOCAL statement_timeout = '50ms'")
            with self.assertRaises(psycopg2.errors.QueryCanceled):
                run(connection, "SELECT pg_sleep(60)")
            connection.rollback()
            self.assertEqual(one(connection, "SHOW statement_timeout"), "0")


class Errors(unittest.TestCase):
    def test_each_error_has_its_class_and_leaves_the_connection_usable(self):
        cases = [
            ("SELEC 1", psycopg2.errors.SyntaxError),
            ("SELECT * FROM no_such_table", psycopg2.errors.UndefinedTable),
            ("SELECT 1 / 0", psycopg2.errors.DivisionByZero),
            ("SELECT 'x'::int", psycopg2.errors.InvalidTextRepresentation),
            ("INSERT INTO constrained VALUES (1, 1)", psycopg2.errors.UniqueViolation),
            ("INSERT INTO constrained VALUES (2, -1)", psycopg2.errors.CheckViolation),
            ("INSERT INTO constrained VALUES (NULL, 1)", psycopg2.errors.NotNullViolation),
        ]
        with autocommit() as connection:
            run(connection, "DROP TABLE IF EXISTS constrained; CREATE TABLE constrained "
                            "(id int PRIMARY KEY, amount int CONSTRAINT positive CHECK (amount > 0));"
                            "INSERT INTO constrained VALUES (1, 1)")
            for query, error in cases:
                with self.subTest(query):
                    with self.assertRaises(error):
                        run(connection, query)
                    self.assertEqual(one(connection, "SELECT 1"), 1)
            with self.assertRaises(psycopg2.errors.CheckViolation) as raised:
                run(connection, "INSERT INTO constrained VALUES (3, 0)")
            self.assertEqual(raised.exception.diag.constraint_name, "positive")
            self.assertEqual(raised.exception.diag.table_name, "constrained")

    def test_a_failed_transaction_stays_failed_until_rollback(self):
        with connect() as connection:
            with self.assertRaises(psycopg2.errors.DivisionByZero):
                run(connection, "SELECT 1 / 0")
            with self.assertRaises(psycopg2.errors.InFailedSqlTransaction):
                run(connection, "SELECT 1")
            connection.rollback()
            self.assertEqual(one(connection, "SELECT 1"), 1)


class Data(unittest.TestCase):
    def test_unicode_and_bytes(self):
        text = "Zażółć gęślą jaźń, 你好, 🐘, \u202e, '\"\\ \t\n"
        data = bytes(range(256)) * 4096  # 1 MiB
        with autocommit() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT %s, %s", (text, psycopg2.Binary(data)))
            row = cursor.fetchone()
            self.assertEqual(row[0], text)
            self.assertEqual(bytes(row[1]), data)

    def test_a_large_row_and_many_rows(self):
        with autocommit() as connection, connection.cursor() as cursor:
            self.assertEqual(len(one(connection, "SELECT repeat('x', 20000000)")), 20_000_000)
            cursor.execute("SELECT n, md5(n::text) FROM generate_series(1, 100000) AS n")
            self.assertEqual(sum(row[0] for row in cursor), 5_000_050_000)

    def test_server_side_cursor(self):
        with connect() as connection, connection.cursor("walk") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT n FROM generate_series(1, 2500) AS n")
            self.assertEqual([row[0] for row in cursor], list(range(1, 2501)))

    def test_large_object(self):
        data = bytes(range(256)) * 2000
        with connect() as connection:
            large_object = connection.lobject(0, "wb")
            large_object.write(data)
            large_object.close()
            connection.commit()
            again = connection.lobject(large_object.oid, "rb")
            self.assertEqual(again.read(), data)
            again.close()
            connection.lobject(large_object.oid, "n").unlink()
            connection.commit()

    def test_notices(self):
        with autocommit() as loud, autocommit() as quiet:
            for number in range(10):
                run(loud, f"DO $$ BEGIN RAISE NOTICE 'notice {number}'; END $$")
                one(quiet, "SELECT 1")
            self.assertEqual(loud.notices, [f"NOTICE:  notice {number}\n" for number in range(10)])
            self.assertEqual(quiet.notices, [])


class Settings(unittest.TestCase):
    def test_startup_settings_belong_to_their_client(self):
        with autocommit() as connection:
            run(connection, "CREATE SCHEMA IF NOT EXISTS left_side; CREATE SCHEMA IF NOT EXISTS right_side;"
                            "DROP TABLE IF EXISTS left_side.place, right_side.place;"
                            "CREATE TABLE left_side.place AS SELECT 'left' AS name;"
                            "CREATE TABLE right_side.place AS SELECT 'right' AS name")
        wanted = {
            "left": ("left app", "left_side", "Asia/Tokyo", "ISO, DMY", "3s"),
            "right": ("right app", "right_side", "America/New_York", "ISO, MDY", "7s"),
        }
        backends = {"left": set(), "right": set()}

        def open_client(side):
            name, schema, zone, style, timeout = wanted[side]
            return autocommit(application_name=name, options=f"-c search_path={schema} -c TimeZone={zone} "
                              f"-c DateStyle={style.replace(', ', ',')} -c statement_timeout={timeout}")

        with open_client("left") as left, open_client("right") as right, autocommit() as plain:
            for _ in range(10):
                for side, connection in ("left", left), ("right", right):
                    name, schema, zone, style, timeout = wanted[side]
                    self.assertEqual(one(connection, "SELECT name FROM place"), side)
                    self.assertEqual(one(connection, "SHOW application_name"), name)
                    self.assertEqual(one(connection, "SHOW search_path"), schema)
                    self.assertEqual(one(connection, "SHOW TimeZone"), zone)
                    self.assertEqual(one(connection, "SHOW DateStyle"), style)
                    self.assertEqual(one(connection, "SHOW statement_timeout"), timeout)
                    self.assertEqual(connection.get_parameter_status("TimeZone"), zone)
                    backends[side].add(one(connection, "SELECT pg_backend_pid()"))
                self.assertEqual(one(plain, "SHOW statement_timeout"), "0")
                self.assertEqual(one(plain, "SHOW application_name"), "")
                with self.assertRaises(psycopg2.errors.UndefinedTable):
                    one(plain, "SELECT name FROM place")
        if DIRECT:
            self.assertFalse(backends["left"] & backends["right"])
        else:
            self.assertTrue(backends["left"] & backends["right"], "the two never shared a server")

    def test_reported_settings_changed_by_sql_follow_their_client(self):
        """PostgreSQL tells of each change of these by a ParameterStatus message."""
        with autocommit() as left, autocommit() as right:
            run(left, "SET TimeZone = 'Europe/Paris'; SET application_name = 'left by SET'")
            run(right, "SET DateStyle = 'SQL, DMY'")
            left.set_client_encoding("LATIN1")
            for _ in range(10):
                self.assertEqual(one(left, "SHOW TimeZone"), "Europe/Paris")
                self.assertNotEqual(one(right, "SHOW TimeZone"), "Europe/Paris")
                self.assertEqual(one(left, "SHOW application_name"), "left by SET")
                self.assertEqual(one(right, "SHOW application_name"), "")
                self.assertEqual(one(right, "SELECT '2021-02-01'::date::text"), "01/02/2021")
                self.assertEqual(one(left, "SELECT '2021-02-01'::date::text"), "2021-02-01")
                self.assertEqual(one(left, "SHOW client_encoding"), "LATIN1")
                self.assertEqual(one(left, "SELECT 'é'"), "é")
                self.assertEqual(one(right, "SHOW client_encoding"), "UTF8")
                self.assertEqual(one(right, "SELECT 'é€'"), "é€")
        with autocommit() as later:
            self.assertEqual(one(later, "SHOW application_name"), "")
            self.assertEqual(one(later, "SHOW client_encoding"), "UTF8")

    def test_reported_settings_changed_in_a_transaction_go_with_its_rollback(self):
        with connect() as left, autocommit() as right:
            zone = one(right, "SHOW TimeZone")
            run(left, "SET TimeZone = 'Europe/Paris'; SET LOCAL IntervalStyle = 'iso_8601'")
            self.assertEqual([one(left, f"SHOW {name}") for name in ("TimeZone", "IntervalStyle")],
                             ["Europe/Paris", "iso_8601"])
            left.rollback()
            self.assertEqual([one(left, f"SHOW {name}") for name in ("TimeZone", "IntervalStyle")], [zone, "postgres"])
            left.rollback()
            run(left, "SET TimeZone = 'Europe/Paris'; SET LOCAL IntervalStyle = 'iso_8601'")
            left.commit()
            for _ in range(5):
                self.assertEqual([one(left, f"SHOW {name}") for name in ("TimeZone", "IntervalStyle")],
                                 ["Europe/Paris", "postgres"])
                left.commit()
                self.assertEqual([one(right, f"SHOW {name}") for name in ("TimeZone", "IntervalStyle")],
                                 [zone, "postgres"])

    def test_a_reset_of_one_client_does_not_reach_another(self):
        """Both have the same startup settings, and the pooler must not believe that the server still has them."""
        options = "-c search_path=pg_catalog,public -c work_mem=3MB"
        query = "SELECT current_setting('search_path'), current_setting('work_mem')"
        with autocommit(options=options) as left, autocommit(options=options) as right:
            for reset in "RESET ALL", "RESET work_mem", "SELECT 1; RESET ALL; SELECT 2", "DISCARD ALL":
                run(left, reset)
                with right.cursor() as cursor:
                    cursor.execute(query)
                    self.assertEqual(cursor.fetchone(), ("pg_catalog,public", "3MB"), f"after {reset}")

    @not_carried
    def test_unreported_settings_changed_by_sql_follow_their_client(self):
        """No message tells of a change of these."""
        query = "SELECT current_setting('work_mem') || current_setting('statement_timeout')"
        with autocommit() as left, autocommit() as right:
            try:
                run(left, "SET work_mem = '3MB'")
                run(left, "SET SESSION statement_timeout TO '55s'")
                for _ in range(5):
                    self.assertEqual(one(left, query), "3MB55s")
                    self.assertEqual(one(right, query), "4MB0")
            finally:  # on the server that was at hand, or the next tests would meet them
                run(left, "RESET work_mem")
                run(left, "RESET statement_timeout")


class Concurrency(unittest.TestCase):
    def test_many_short_lived_clients(self):
        def visit(number):
            with autocommit(application_name=f"visitor {number}") as connection:
                return one(connection, "SELECT %s || ' ' || current_setting('application_name')", (number,))

        with ThreadPoolExecutor(CLIENTS) as executor:
            answers = list(executor.map(visit, range(300)))
        self.assertEqual(answers, [f"{number} visitor {number}" for number in range(300)])

    def test_non_blocking_connections(self):
        connections = [psycopg2.connect(**POOLER._asdict(), async_=True) for _ in range(CLIENTS)]
        try:
            for connection in connections:
                wait_ready(connection)
            cursors = [connection.cursor() for connection in connections]
            for number, cursor in enumerate(cursors):
                cursor.execute("SELECT %s, pg_sleep(0.05)", (number,))
            for number, cursor in enumerate(cursors):
                wait_ready(cursor.connection)
                self.assertEqual(cursor.fetchone()[0], number)
        finally:
            for connection in connections:
                connection.close()


def wait_ready(connection):
    while True:
        state = connection.poll()
        if state == psycopg2.extensions.POLL_OK:
            return
        wanted = ([connection], [], []) if state == psycopg2.extensions.POLL_READ else ([], [connection], [])
        select.select(*wanted)


@unittest.skipIf(DIRECT, "a direct connection ends with its server")
class LostServer(unittest.TestCase):
    def test_a_transaction_fails_and_the_connection_goes_on(self):
        with connect() as connection, autocommit() as other:
            for end in connection.rollback, connection.commit:
                backend = one(connection, "SELECT pg_backend_pid()")
                run(other, "SELECT pg_terminate_backend(%s, 5000)", (backend,))
                with self.assertRaises(psycopg2.errors.AdminShutdown):
                    run(connection, "SELECT 1")
                with self.assertRaises(psycopg2.errors.InFailedSqlTransaction):
                    run(connection, "SELECT 1")
                end()
                self.assertEqual(one(connection, "SELECT 1"), 1)
                connection.rollback()

    def test_a_commit_does_not_seem_to_succeed(self):
        with connect() as connection, autocommit() as other:
            backend = one(connection, "SELECT pg_backend_pid()")
            run(other, "SELECT pg_terminate_backend(%s, 5000)", (backend,))
            with self.assertRaises(psycopg2.OperationalError):
                connection.commit()
            self.assertEqual(one(connection, "SELECT 1"), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
