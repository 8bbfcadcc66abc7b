#!/usr/bin/python3
"""asyncpg (its own binary protocol code, a statement cache that is on by default); run by harness.py."""

import asyncio
import decimal
import io
import unittest

import asyncpg

from endpoint import DIRECT, POOLER, PREPARED_MAX, SERVER, assert_servers_shared, not_carried

CLIENTS = 20


def parameters(endpoint):
    return {"host": endpoint.host, "port": endpoint.port, "database": endpoint.dbname, "user": endpoint.user,
            "password": endpoint.password, "ssl": False}


async def connect(**changes):
    return await asyncpg.connect(**{**parameters(POOLER), **changes})


class Client:
    """`async with Client() as connection`."""

    def __init__(self, **changes):
        self.changes = changes

    async def __aenter__(self):
        self.connection = await connect(**self.changes)
        return self.connection

    async def __aexit__(self, *_):
        await self.connection.close()


class Case(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        # unittest turns asyncio's debug mode on, in which each callback records where it came from: far too slow here.
        self._asyncioRunner.get_loop().set_debug(False)


class Meeting:
    """Everybody waits until all have come; asyncio's own Barrier raises for all when one fails, this one cannot."""

    def __init__(self, parties):
        self.missing = parties
        self.everybody = asyncio.Event()

    async def wait(self):
        self.missing -= 1
        if self.missing == 0:
            self.everybody.set()
        await self.everybody.wait()


async def wait_until_running(marker):
    """Returns once the server is at work on a query that contains the marker."""
    observer = await asyncpg.connect(**parameters(SERVER))
    try:
        while not await observer.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                                          "AND query LIKE $1 AND pid <> pg_backend_pid()", f"%{marker}%"):
            await asyncio.sleep(0.02)
    finally:
        await observer.close()


class Login(Case):
    async def test_right_password(self):
        async with Client() as connection:
            self.assertEqual(await connection.fetchval("SELECT current_user"), POOLER.user)
            self.assertGreaterEqual(connection.get_server_version().major, 15)
            self.assertEqual(connection.get_settings().client_encoding, "UTF8")

    async def test_wrong_password_and_unknown_user_look_the_same(self):
        for changes in {"password": "wrong"}, {"user": "nobody"}:
            with self.subTest(changes), self.assertRaises(asyncpg.InvalidPasswordError) as raised:
                await connect(**changes)
            self.assertEqual(raised.exception.sqlstate, "28P01")

    async def test_unknown_database(self):
        with self.assertRaises(asyncpg.InvalidCatalogNameError):
            await connect(database="no_such_database")


class Transactions(Case):
    async def asyncSetUp(self):
        async with Client() as connection:
            await connection.execute("DROP TABLE IF EXISTS account; CREATE TABLE account (id int PRIMARY KEY, balance int);"
                                     "INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id")

    async def test_commit_rollback_and_nesting(self):
        async with Client() as connection, Client() as reader:
            async with connection.transaction():
                await connection.execute("UPDATE account SET balance = $1 WHERE id = 1", 1)
                with self.assertRaises(asyncpg.UniqueViolationError):
                    async with connection.transaction():
                        await connection.execute("UPDATE account SET balance = 2 WHERE id = 2")
                        await connection.execute("INSERT INTO account VALUES (1, 0)")
                self.assertEqual(await reader.fetchval("SELECT balance FROM account WHERE id = 1"), 1000)
            self.assertEqual(await reader.fetchval("SELECT balance FROM account WHERE id = 1"), 1)
            self.assertEqual(await reader.fetchval("SELECT balance FROM account WHERE id = 2"), 1000)
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute("DELETE FROM account")
            await transaction.rollback()
            self.assertEqual(await reader.fetchval("SELECT count(*) FROM account"), 10)

    async def test_isolation_level_belongs_to_one_transaction(self):
        async with Client() as strict, Client() as plain:
            for _ in range(5):
                async with strict.transaction(isolation="serializable", readonly=True, deferrable=True):
                    self.assertEqual(await strict.fetchval("SHOW transaction_isolation"), "serializable")
                    async with plain.transaction():
                        self.assertEqual(await plain.fetchval("SHOW transaction_isolation"), "read committed")
                    with self.assertRaises(asyncpg.ReadOnlySQLTransactionError):
                        async with strict.transaction():
                            await strict.execute("DELETE FROM account")

    async def test_many_clients_keep_one_total(self):
        meeting, backends = Meeting(CLIENTS), []

        async def transfer(number):
            async with Client() as connection:
                await meeting.wait()
                for step in range(20):
                    first, second = sorted(((number + step) % 10 + 1, (number * 3 + step * 7) % 10 + 1))
                    async with connection.transaction():
                        backend = await connection.fetchval("SELECT pg_backend_pid()")
                        await connection.execute("UPDATE account SET balance = balance - $2 WHERE id = $1", first, 7)
                        await connection.execute("UPDATE account SET balance = balance + $2 WHERE id = $1", second, 7)
                        self.assertEqual(await connection.fetchval("SELECT sum(balance) FROM account"), 10000)
                        self.assertEqual(await connection.fetchval("SELECT pg_backend_pid()"), backend)
                    backends.append(backend)

        await asyncio.gather(*(transfer(number) for number in range(CLIENTS)))
        assert_servers_shared(self, backends, CLIENTS)


class Prepared(Case):
    async def test_one_statement_on_many_servers(self):
        meeting, backends = Meeting(CLIENTS), []

        async def work(number):
            async with Client() as connection:
                await meeting.wait()
                statement = await connection.prepare("SELECT $1::int + $2::int AS total, pg_backend_pid() AS backend")
                self.assertEqual([a.name for a in statement.get_attributes()], ["total", "backend"])
                self.assertEqual([p.name for p in statement.get_parameters()], ["int4", "int4"])
                for step in range(50):
                    row = await statement.fetchrow(number, step)
                    self.assertEqual(row["total"], number + step)
                    backends.append(row["backend"])

        await asyncio.gather(*(work(number) for number in range(CLIENTS)))
        assert_servers_shared(self, backends, CLIENTS)

    async def test_a_client_that_only_prepared_holds_no_server(self):
        """asyncpg prepares with Flush and sends no Sync before the first execution, which may be much later."""
        clients = [await connect() for _ in range(CLIENTS)]
        try:
            statements = [await client.prepare("SELECT $1::int * 2") for client in clients]
            self.assertEqual([await each.fetchval(n) for n, each in enumerate(statements)], [n * 2 for n in range(CLIENTS)])
        finally:
            for client in clients:
                client.terminate()

    async def test_more_statements_than_fit(self):
        """More than a server keeps, and more than the driver's cache keeps, so that it sends Close messages."""
        async with Client() as first, Client(statement_cache_size=20) as second:
            for _ in range(2):
                for number in range(3 * PREPARED_MAX):
                    for connection in first, second:
                        self.assertEqual(await connection.fetchval(f"SELECT $1::int + {number}", 1), number + 1)

    async def test_statements_outlive_other_clients(self):
        query = "SELECT $1::text || ' stays'"
        async with Client() as connection:
            for number in range(10):
                async with Client() as other:
                    self.assertEqual(await other.fetchval(query, str(number)), f"{number} stays")
                self.assertEqual(await connection.fetchval(query, str(number)), f"{number} stays")

    async def test_without_a_cache(self):
        async with Client(statement_cache_size=0) as connection:
            for number in range(50):
                self.assertEqual(await connection.fetchval("SELECT $1::int * 3", number), number * 3)

    async def test_failed_prepare(self):
        async with Client() as connection:
            for _ in range(3):
                with self.assertRaises(asyncpg.PostgresSyntaxError):
                    await connection.prepare("SELEC $1")
                with self.assertRaises(asyncpg.DivisionByZeroError):
                    await connection.fetchval("SELECT 1 / $1::int", 0)
                self.assertEqual(await connection.fetchval("SELECT 8 / $1::int", 2), 4)

    async def test_executemany(self):
        async with Client() as connection:
            await connection.execute("DROP TABLE IF EXISTS batch; CREATE TABLE batch (id int PRIMARY KEY, name text)")
            await connection.executemany("INSERT INTO batch VALUES ($1, $2)", [(n, f"name {n}") for n in range(5000)])
            self.assertEqual(await connection.fetchval("SELECT count(*) FROM batch"), 5000)
            with self.assertRaises(asyncpg.UniqueViolationError):  # all or nothing
                await connection.executemany("INSERT INTO batch VALUES ($1, '')", [(5000,), (5001,), (1,), (5002,)])
            self.assertEqual(await connection.fetchval("SELECT count(*) FROM batch"), 5000)


class Cursors(Case):
    async def test_cursor_in_a_transaction(self):
        async with Client() as connection, Client() as neighbour:
            async with connection.transaction():
                numbers = []
                async for record in connection.cursor("SELECT n FROM generate_series(1, $1) AS n", 1000, prefetch=50):
                    numbers.append(record["n"])
                    if record["n"] % 100 == 0:
                        self.assertEqual(await neighbour.fetchval("SELECT $1::int", record["n"]), record["n"])
                self.assertEqual(numbers, list(range(1, 1001)))
                cursor = await connection.cursor("SELECT n FROM generate_series(1, 100) AS n")
                self.assertEqual(await cursor.forward(10), 10)
                self.assertEqual((await cursor.fetchrow())["n"], 11)
                self.assertEqual(len(await cursor.fetch(500)), 89)


class Copy(Case):
    ROWS = 60_000

    async def asyncSetUp(self):
        async with Client() as connection:
            await connection.execute("DROP TABLE IF EXISTS copied; CREATE TABLE copied (id int PRIMARY KEY, text text)")

    async def test_records_in_and_rows_out(self):
        async with Client() as connection:
            records = [(number, f"{'grüße-' * 10}{number}") for number in range(self.ROWS)]
            status = await connection.copy_records_to_table("copied", records=records)
            self.assertEqual(status, f"COPY {self.ROWS}")
            out = io.BytesIO()
            status = await connection.copy_from_query("SELECT * FROM copied WHERE id < $1 ORDER BY id", self.ROWS, output=out)
            self.assertEqual(status, f"COPY {self.ROWS}")
            self.assertGreater(out.tell(), 4_000_000)
            self.assertEqual(out.getvalue().decode(), "".join(f"{n}\t{text}\n" for n, text in records))
            await connection.execute("TRUNCATE copied")
            out.seek(0)
            self.assertEqual(await connection.copy_to_table("copied", source=out), f"COPY {self.ROWS}")
            again = io.BytesIO()
            await connection.copy_from_table("copied", output=again, format="csv", header=True)
            self.assertTrue(again.getvalue().startswith(b"id,text\n"))

    async def test_a_bad_record(self):
        async with Client() as connection:
            with self.assertRaises(asyncpg.UniqueViolationError):
                await connection.copy_records_to_table("copied", records=[(n, "x") for n in range(20_000)] + [(7, "again")])
            self.assertEqual(await connection.fetchval("SELECT count(*) FROM copied"), 0)

    async def test_a_source_that_raises(self):
        async def source():
            yield b"1\tone\n"
            raise RuntimeError("the source broke")

        async with Client() as connection:
            with self.assertRaises(RuntimeError):
                await connection.copy_to_table("copied", source=source())
            self.assertEqual(await connection.fetchval("SELECT count(*) FROM copied"), 0)

    async def test_a_sink_that_raises(self):
        async def sink(_):
            raise RuntimeError("the sink broke")

        async with Client() as connection:
            with self.assertRaises(RuntimeError):
                await connection.copy_from_query("SELECT repeat('x', 100) FROM generate_series(1, 100000)", output=sink)
            self.assertEqual(await connection.fetchval("SELECT 1"), 1)


class Cancel(Case):
    async def test_timeout_hits_its_own_query_alone(self):
        stop = asyncio.Event()

        async def neighbour(number):
            async with Client() as connection:
                queries = 0
                while not stop.is_set():
                    self.assertEqual(await connection.fetchval("SELECT $1::int + 1", number), number + 1)
                    queries += 1
                return queries

        neighbours = [asyncio.create_task(neighbour(number)) for number in range(8)]
        async with Client() as sleeper:
            for _ in range(5):
                with self.assertRaises(asyncio.TimeoutError):
                    await sleeper.fetchval("SELECT pg_sleep(60)", timeout=0.2)
                self.assertEqual(await sleeper.fetchval("SELECT 42"), 42)
        stop.set()
        for queries in await asyncio.gather(*neighbours):
            self.assertGreater(queries, 0)

    async def test_a_cancelled_task_cancels_its_query(self):
        async with Client() as connection:
            for number in range(3):
                marker = f"asyncpg cancel {number}"
                task = asyncio.create_task(connection.execute(f"SELECT pg_sleep(60) /* {marker} */"))
                await wait_until_running(marker)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertEqual(await connection.fetchval("SELECT 42"), 42)

    async def test_timeout_inside_a_transaction(self):
        async with Client() as connection:
            with self.assertRaises(asyncio.TimeoutError):
                async with connection.transaction():
                    await connection.fetchval("SELECT pg_sleep(60)", timeout=0.2)
            self.assertFalse(connection.is_in_transaction())
            self.assertEqual(await connection.fetchval("SELECT 42"), 42)


class Errors(Case):
    async def test_each_error_has_its_class_and_leaves_the_connection_usable(self):
        cases = [
            ("SELEC 1", (), asyncpg.PostgresSyntaxError),
            ("SELECT * FROM no_such_table", (), asyncpg.UndefinedTableError),
            ("SELECT 1 / $1::int", (0,), asyncpg.DivisionByZeroError),
            ("SELECT $1::text::int", ("x",), asyncpg.InvalidTextRepresentationError),
            ("INSERT INTO constrained VALUES ($1, 1)", (1,), asyncpg.UniqueViolationError),
            ("INSERT INTO constrained VALUES (2, $1)", (-1,), asyncpg.CheckViolationError),
            ("INSERT INTO constrained VALUES ($1, 1)", (None,), asyncpg.NotNullViolationError),
        ]
        async with Client() as connection:
            await connection.execute("DROP TABLE IF EXISTS constrained; CREATE TABLE constrained "
                                     "(id int PRIMARY KEY, amount int CONSTRAINT positive CHECK (amount > 0));"
                                     "INSERT INTO constrained VALUES (1, 1)")
            for query, arguments, error in cases:
                for call in connection.execute, connection.fetch:
                    with self.subTest(query):
                        with self.assertRaises(error):
                            await call(query, *arguments)
                        self.assertEqual(await connection.fetchval("SELECT 1"), 1)
            with self.assertRaises(asyncpg.CheckViolationError) as raised:
                await connection.execute("INSERT INTO constrained VALUES (3, $1)", 0)
            self.assertEqual(raised.exception.constraint_name, "positive")

    async def test_a_failed_transaction_stays_failed_until_rollback(self):
        async with Client() as connection:
            transaction = connection.transaction()
            await transaction.start()
            with self.assertRaises(asyncpg.DivisionByZeroError):
                await connection.fetchval("SELECT 1 / $1::int", 0)
            with self.assertRaises(asyncpg.InFailedSQLTransactionError):
                await connection.fetchval("SELECT 1")
            await transaction.rollback()
            self.assertEqual(await connection.fetchval("SELECT 1"), 1)


class Data(Case):
    async def test_unicode_and_bytes(self):
        text = "Zażółć gęślą jaźń, 你好, 🐘, \u202e, '\"\\ \t\n"
        data = bytes(range(256)) * 4096
        async with Client() as connection:
            row = await connection.fetchrow("SELECT $1::text AS text, $2::bytea AS data", text, data)
        self.assertEqual((row["text"], row["data"]), (text, data))

    async def test_types_that_the_driver_must_look_up(self):
        """Enums, composites and domains make asyncpg ask the catalogue, by statements and a jit setting of its own."""
        async with Client() as connection:
            await connection.execute("DROP TABLE IF EXISTS painted; DROP TYPE IF EXISTS colour, point3;"
                                     "CREATE TYPE colour AS ENUM ('red', 'green'); CREATE TYPE point3 AS (x int, y int, z numeric);"
                                     "CREATE TABLE painted (colour colour, at point3, all_colours colour[])")
        async with Client() as connection, Client() as second:
            for each in connection, second:
                await each.execute("INSERT INTO painted VALUES ($1, $2, $3)", "red", (1, 2, decimal.Decimal("3.5")),
                                   ["red", "green"])
                row = await each.fetchrow("SELECT * FROM painted")
                self.assertEqual((row["colour"], tuple(row["at"]), row["all_colours"]),
                                 ("red", (1, 2, decimal.Decimal("3.5")), ["red", "green"]))

    async def test_large_results(self):
        async with Client() as connection:
            self.assertEqual(len(await connection.fetchval("SELECT repeat('x', 20000000)")), 20_000_000)
            rows = await connection.fetch("SELECT n, md5(n::text) FROM generate_series(1, $1) AS n", 100_000)
            self.assertEqual(sum(row["n"] for row in rows), 5_000_050_000)

    async def test_notices(self):
        heard = {"loud": [], "quiet": []}
        async with Client() as loud, Client() as quiet:
            loud.add_log_listener(lambda _, message: heard["loud"].append(message.message))
            quiet.add_log_listener(lambda _, message: heard["quiet"].append(message.message))
            for number in range(10):
                await loud.execute(f"DO $$ BEGIN RAISE NOTICE 'notice {number}'; END $$")
                await quiet.fetchval("SELECT 1")
            await asyncio.sleep(0)
        self.assertEqual(heard, {"loud": [f"notice {number}" for number in range(10)], "quiet": []})


class Settings(Case):
    WANTED = {
        "left": {"application_name": "left", "search_path": "left_side", "TimeZone": "Asia/Tokyo", "work_mem": "3MB"},
        "right": {"application_name": "right", "search_path": "right_side", "TimeZone": "America/New_York",
                  "work_mem": "7MB"},
    }

    async def asyncSetUp(self):
        async with Client() as connection:
            await connection.execute("CREATE SCHEMA IF NOT EXISTS left_side; CREATE SCHEMA IF NOT EXISTS right_side")

    async def settings_of(self, connection):
        return {name: await connection.fetchval("SELECT current_setting($1)", name) for name in self.WANTED["left"]}

    async def test_startup_settings_belong_to_their_client(self):
        backends = {"left": set(), "right": set()}
        async with Client(server_settings=self.WANTED["left"]) as left, \
                Client(server_settings=self.WANTED["right"]) as right, Client() as plain:
            for _ in range(10):
                for side, connection in ("left", left), ("right", right):
                    self.assertEqual(await self.settings_of(connection), self.WANTED[side])
                    self.assertEqual(connection.get_settings().TimeZone, self.WANTED[side]["TimeZone"])
                    backends[side].add(await connection.fetchval("SELECT pg_backend_pid()"))
                self.assertEqual(await plain.fetchval("SHOW work_mem"), "4MB")
                self.assertEqual(await plain.fetchval("SHOW application_name"), "")
        if DIRECT:
            self.assertFalse(backends["left"] & backends["right"])
        else:
            self.assertTrue(backends["left"] & backends["right"], "the two never shared a server")

    @not_carried
    async def test_the_drivers_pool_resets_to_the_startup_settings(self):
        """asyncpg's own pool sends RESET ALL (and more) when a connection is given back to it."""
        for side in "left", "right", "left":
            async with asyncpg.create_pool(**parameters(POOLER), min_size=2, max_size=2,
                                           server_settings=self.WANTED[side]) as pool:
                for _ in range(6):
                    async with pool.acquire() as connection:
                        self.assertEqual(await self.settings_of(connection), self.WANTED[side])


class Concurrency(Case):
    async def test_many_clients_of_one_pool(self):
        async with asyncpg.create_pool(**parameters(POOLER), min_size=CLIENTS, max_size=CLIENTS) as pool:
            async def visit(number):
                async with pool.acquire() as connection, connection.transaction():
                    return await connection.fetchval("SELECT $1::int * 2", number)

            self.assertEqual(await asyncio.gather(*(visit(n) for n in range(500))), [n * 2 for n in range(500)])

    async def test_many_short_lived_clients(self):
        gate = asyncio.Semaphore(CLIENTS)

        async def visit(number):
            async with gate, Client() as connection:
                return await connection.fetchval("SELECT $1::int", number)

        self.assertEqual(await asyncio.gather(*(visit(n) for n in range(60))), list(range(60)))


@unittest.skipIf(DIRECT, "a direct connection ends with its server")
class LostServer(Case):
    async def test_a_transaction_fails_and_the_connection_goes_on(self):
        async with Client() as connection, Client() as other:
            for _ in range(3):
                transaction = connection.transaction()
                await transaction.start()
                backend = await connection.fetchval("SELECT pg_backend_pid()")
                await other.execute("SELECT pg_terminate_backend($1, 5000)", backend)
                with self.assertRaises(asyncpg.AdminShutdownError):
                    await connection.fetchval("SELECT $1::int", 1)
                with self.assertRaises(asyncpg.InFailedSQLTransactionError):
                    await connection.fetchval("SELECT $1::int", 1)
                await transaction.rollback()
                self.assertEqual(await connection.fetchval("SELECT $1::int", 1), 1)

    async def test_a_pool_resets_its_connection(self):
        async with asyncpg.create_pool(**parameters(POOLER), min_size=1, max_size=1) as pool, Client() as other:
            for _ in range(3):
                async with pool.acquire() as connection:
                    await connection.execute("BEGIN")
                    backend = await connection.fetchval("SELECT pg_backend_pid()")
                    await other.execute("SELECT pg_terminate_backend($1, 5000)", backend)
                    with self.assertRaises(asyncpg.AdminShutdownError):
                        await connection.fetchval("SELECT 1")
                async with pool.acquire() as connection:
                    self.assertEqual(await connection.fetchval("SELECT 1"), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
