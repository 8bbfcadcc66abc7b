#!/usr/bin/python3
"""psql through the pooler; run by harness.py."""

import os
import re
import signal
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from endpoint import DIRECT, POOLER, SERVER, TLS, assert_servers_shared

CLIENTS = 20
SYNTAX_ERROR = 3  # psql's exit status for a script that failed under ON_ERROR_STOP
NO_CONNECTION = 2
QUIET = {"PGOPTIONS": "-c client_min_messages=error"}  # DROP ... IF EXISTS has nothing to say


def conninfo(endpoint=POOLER, **changes):
    settings = {"host": endpoint.host, "port": endpoint.port, "dbname": endpoint.dbname, "user": endpoint.user, **changes}
    return " ".join("{}='{}'".format(name, str(value).replace("\\", "\\\\").replace("'", "\\'"))
                    for name, value in settings.items())


def start(*arguments, endpoint=POOLER, password=None, environment=None, **changes):
    return subprocess.Popen(
        ["/usr/bin/psql", "-XAtq", *arguments, conninfo(endpoint, **changes)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PGPASSWORD": password or endpoint.password, **(environment or {})})


def psql(script, *arguments, status=0, **options):
    """Runs a script; returns what it printed as (output, errors)."""
    process = start(*arguments, **options)
    output, errors = process.communicate(script)
    if process.returncode != status:
        raise AssertionError(f"psql ended with {process.returncode}, not {status}: {errors}")
    return output, errors


def answer(script, *arguments, **options):
    """Runs a script that must succeed without a word on stderr; returns its output."""
    output, errors = psql(script, "-v", "ON_ERROR_STOP=1", *arguments, **options)
    if errors:
        raise AssertionError(errors)
    return output


def wait_until_running(marker):
    """Returns once the server is at work on a query that contains the marker."""
    query = ("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
             f"AND query LIKE '%{marker}%' AND pid <> pg_backend_pid()")
    while answer(query, endpoint=SERVER).strip() != "1":
        time.sleep(0.02)


class Login(unittest.TestCase):
    def test_right_password(self):
        self.assertEqual(answer("SELECT current_user, current_database();"), f"{POOLER.user}|{POOLER.dbname}\n")

    def test_wrong_password_and_unknown_user_look_the_same(self):
        for changes in {"password": "wrong"}, {"user": "nobody"}:
            with self.subTest(changes):
                _, errors = psql("SELECT 1", status=NO_CONNECTION, **changes)
                self.assertRegex(errors, "FATAL: .*authentication failed")

    def test_unknown_database(self):
        _, errors = psql("SELECT 1", status=NO_CONNECTION, dbname="no_such_database")
        self.assertIn("no_such_database", errors)

    def test_reconnect(self):
        output = answer(f"SELECT 1;\n\\c -reuse-previous=on \"application_name=again\"\nSHOW application_name;\n"
                        f"\\c\nSHOW application_name;\n")
        self.assertEqual(output.splitlines(), ["1", "again", "again"])

    @unittest.skipUnless(TLS, "without TLS there is nobody to verify")
    def test_who_is_not_whom_was_meant(self):
        """The certificate is of an authority that is not the system's, and for an address, not a name."""
        self.assertEqual(answer("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t\n")
        for changes, reason in (({"host": "localhost", "hostaddr": "127.0.0.1"}, "does not match host name"),
                                ({"sslrootcert": "/etc/ssl/certs/ca-certificates.crt"}, "certificate verify failed|does not exist"),
                                ({"sslmode": "disable", "channel_binding": "disable"}, "SSL required|no encryption")):
            with self.subTest(changes):
                _, errors = psql("SELECT 1", status=NO_CONNECTION, **changes)
                self.assertRegex(errors, reason)

    @unittest.skipIf(TLS, "with TLS it is not")
    def test_encryption_is_declined(self):
        """sslmode=prefer and gssencmode=prefer ask first and go on without."""
        self.assertEqual(answer("SELECT 1", sslmode="prefer", gssencmode="prefer"), "1\n")
        _, errors = psql("SELECT 1", status=NO_CONNECTION, sslmode="require")
        self.assertIn("SSL", errors)


class Transactions(unittest.TestCase):
    def setUp(self):
        answer("DROP TABLE IF EXISTS account; CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL);"
               "INSERT INTO account SELECT id, 1000 FROM generate_series(1, 10) AS id;", environment=QUIET)

    def balance(self, number):
        return int(answer(f"SELECT balance FROM account WHERE id = {number}"))

    def test_commit_rollback_and_savepoint(self):
        answer("""BEGIN;
            UPDATE account SET balance = 1 WHERE id = 1;
            SAVEPOINT s;
            UPDATE account SET balance = 2 WHERE id = 2;
            ROLLBACK TO s;
            COMMIT;
            BEGIN;
            DELETE FROM account;
            ROLLBACK;""")
        self.assertEqual([self.balance(1), self.balance(2)], [1, 1000])

    def test_several_statements_in_one_message_are_one_transaction(self):
        """-c sends its whole string as one Query."""
        query = "UPDATE account SET balance = 7 WHERE id = 3; SELECT 1/0; UPDATE account SET balance = 8 WHERE id = 3"
        _, errors = psql("", "-c", query, status=1)
        self.assertIn("division by zero", errors)
        self.assertEqual(self.balance(3), 1000)
        output = answer("", "-c", "UPDATE account SET balance = 9 WHERE id = 3; SELECT 'one'; SELECT 'two'")
        self.assertEqual(output, "one\ntwo\n")
        self.assertEqual(self.balance(3), 9)
        psql("", "-c", "BEGIN; UPDATE account SET balance = 10 WHERE id = 3; COMMIT; SELECT 1/0", status=1)
        self.assertEqual(self.balance(3), 10)

    def test_single_transaction_option(self):
        psql("UPDATE account SET balance = 4 WHERE id = 4;\nSELEC 1;\n", "-1", "-v", "ON_ERROR_STOP=1", status=SYNTAX_ERROR)
        self.assertEqual(self.balance(4), 1000)
        answer("UPDATE account SET balance = 4 WHERE id = 4;\n", "-1")
        self.assertEqual(self.balance(4), 4)

    def test_on_error_rollback(self):
        """psql wraps each statement of a transaction in a savepoint of its own."""
        output, errors = psql("\\set ON_ERROR_ROLLBACK on\nBEGIN;\nUPDATE account SET balance = 5 WHERE id = 5;\n"
                              "SELECT 1/0;\nSELECT 'alive';\nCOMMIT;\n")
        self.assertEqual(output, "alive\n")
        self.assertIn("division by zero", errors)
        self.assertEqual(self.balance(5), 5)

    def test_autocommit_off(self):
        answer("\\set AUTOCOMMIT off\nUPDATE account SET balance = 6 WHERE id = 6;\nCOMMIT;\n"
               "UPDATE account SET balance = 66 WHERE id = 6;\n")
        self.assertEqual(self.balance(6), 6)

    def test_an_unfinished_transaction_goes_with_its_client(self):
        answer("BEGIN;\nUPDATE account SET balance = 0;\n")
        self.assertEqual(self.balance(1), 1000)

    def test_a_killed_client(self):
        """SIGKILL in the middle of a transaction: its locks are gone and nobody inherits its state."""
        process = start()
        process.stdin.write("BEGIN;\nUPDATE account SET balance = 0 WHERE id = 1;\nSELECT 'locked';\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "locked\n")
        process.kill()
        process.communicate()
        answer("UPDATE account SET balance = balance + 1 WHERE id = 1")
        self.assertEqual(self.balance(1), 1001)

    def test_many_clients(self):
        script = "".join(f"""BEGIN;
            SELECT pg_backend_pid();
            UPDATE account SET balance = balance - 3 WHERE id = {step % 5 + 1};
            UPDATE account SET balance = balance + 3 WHERE id = {step % 5 + 6};
            SELECT pg_backend_pid(), sum(balance) FROM account;
            {'ROLLBACK' if step % 3 == 0 else 'COMMIT'};""" for step in range(20))

        processes = [start("-v", "ON_ERROR_STOP=1") for _ in range(CLIENTS)]
        for process in processes:  # all are connected before the first begins
            process.stdin.write("SELECT 'ready';\n")
            process.stdin.flush()
        for process in processes:
            self.assertEqual(process.stdout.readline(), "ready\n")
        with ThreadPoolExecutor(CLIENTS) as executor:
            results = list(executor.map(lambda process: process.communicate(script), processes))
        backends = []
        for output, errors in results:
            self.assertEqual(errors, "")
            pids = re.findall(r"^(\d+)\n(\d+)\|(\d+)$", output, re.MULTILINE)
            self.assertEqual(len(pids), 20)
            for before, after, total in pids:
                self.assertEqual((before, total), (after, "10000"))
                backends.append(before)
        assert_servers_shared(self, backends, CLIENTS)


class MetaCommands(unittest.TestCase):
    def test_g_gset_gx_and_gexec(self):
        output = answer("SELECT 'to a file' \\g out.txt\n"
                        "SELECT 40 + 2 AS answer \\gset\n"
                        "SELECT :answer * 2;\n"
                        "SELECT 1 AS one \\gx\n"
                        "SELECT format('SELECT %s', n) FROM generate_series(1, 3) AS n \\gexec\n"
                        "SELECT 1 \\; SELECT 2 \\; SELECT 3;\n")
        self.assertEqual(output.splitlines(), ["84", "one|1", "1", "2", "3", "1", "2", "3"])
        self.assertEqual(Path("out.txt").read_text(), "to a file\n")

    def test_extended_protocol(self):
        """\\gdesc is a Parse and Describe without Execute; \\bind (psql 16) a whole extended query."""
        self.assertEqual(answer("SELECT 1::int AS a, 'x'::text AS b \\gdesc\n"), "a|integer\nb|text\n")
        output, errors = psql("SELECT no_such_column \\gdesc\nSELECT 5;\n")
        self.assertEqual(output, "5\n")
        self.assertIn("no_such_column", errors)
        version = subprocess.run(["/usr/bin/psql", "--version"], capture_output=True, text=True, check=True).stdout
        if int(re.search(r"\d+", version)[0]) >= 16:
            self.assertEqual(answer("SELECT $1::int + $2::int \\bind 40 2 \\g\n"), "42\n")

    def test_sql_level_prepare_inside_a_transaction(self):
        self.assertEqual(answer("BEGIN; PREPARE twice (int) AS SELECT $1 * 2; EXECUTE twice (21); DEALLOCATE twice; COMMIT;"),
                         "42\n")

    def test_descriptions(self):
        answer("DROP TABLE IF EXISTS described; CREATE TABLE described (id serial PRIMARY KEY, name text);",
               environment=QUIET)
        output = answer("\\d described\n\\dt\n\\l\n\\dn\n\\df pg_catalog.pg_backend_pid\n\\conninfo\n")
        for word in "described_id_seq", "nextval", POOLER.dbname, "pg_backend_pid", str(POOLER.port):
            self.assertIn(word, output)

    def test_fetch_count(self):
        """FETCH_COUNT makes psql use a cursor inside a transaction."""
        output = answer("\\set FETCH_COUNT 100\nSELECT n FROM generate_series(1, 2500) AS n;\n")
        self.assertEqual(output.split(), [str(n) for n in range(1, 2501)])

    def test_large_object(self):
        data = bytes(range(256)) * 8192
        Path("in.bin").write_bytes(data)
        answer("\\lo_import in.bin\n\\lo_export :LASTOID out.bin\n\\lo_unlink :LASTOID\n")
        self.assertEqual(Path("out.bin").read_bytes(), data)


class Copy(unittest.TestCase):
    def setUp(self):
        answer("DROP TABLE IF EXISTS copied; CREATE TABLE copied (id int PRIMARY KEY, text text);",
               environment=QUIET)

    def test_in_and_out(self):
        data = "".join(f"{number}\t{'grüße-' * 10}{number}\n" for number in range(60_000))
        Path("in.tsv").write_text(data)
        answer("\\copy copied FROM 'in.tsv'\n\\copy (SELECT * FROM copied ORDER BY id) TO 'out.tsv'\n"
               "\\copy copied TO 'out.csv' WITH (FORMAT csv, HEADER)\n\\copy copied TO 'out.bin' WITH (FORMAT binary)\n"
               "TRUNCATE copied;\n\\copy copied FROM 'out.bin' WITH (FORMAT binary)\n"
               "\\copy (SELECT * FROM copied ORDER BY id) TO 'again.tsv'\n")
        self.assertEqual(Path("out.tsv").read_text(), data)
        self.assertEqual(Path("again.tsv").read_text(), data)
        self.assertTrue(Path("out.csv").read_text().startswith("id,text\n0,"))

    def test_from_stdin_between_statements(self):
        output = answer("SELECT 1;\nCOPY copied FROM STDIN;\n1\tone\n2\ttwo\n\\.\nSELECT count(*) FROM copied;\n"
                        "COPY copied TO STDOUT;\n")
        self.assertEqual(output, "1\n2\n1\tone\n2\ttwo\n")

    def test_a_bad_row(self):
        output, errors = psql("COPY copied FROM STDIN;\n1\tone\nx\ttwo\n\\.\nSELECT count(*) FROM copied;\n")
        self.assertIn("invalid input syntax", errors)
        self.assertEqual(output, "0\n")

    def test_a_client_killed_in_the_middle(self):
        process = start()
        process.stdin.write("COPY copied FROM STDIN /* psql killed copy */;\n1\tone\n")
        process.stdin.flush()
        wait_until_running("psql killed copy")
        process.kill()
        process.communicate()
        answer("INSERT INTO copied VALUES (1, 'free')")
        self.assertEqual(answer("SELECT * FROM copied"), "1|free\n")


class Cancel(unittest.TestCase):
    def test_sigint_hits_its_own_query_alone(self):
        neighbours = [start("-v", "ON_ERROR_STOP=1") for _ in range(4)]
        script = "".join(f"SELECT {n}, pg_sleep(0.001);\n" for n in range(300))
        with ThreadPoolExecutor(4) as executor:
            running = [executor.submit(each.communicate, script) for each in neighbours]
            for number in range(4):
                marker = f"psql cancel {number}"
                sleeper = start("-c", f"SELECT pg_sleep(60) /* {marker} */")
                wait_until_running(marker)
                sleeper.send_signal(signal.SIGINT)
                output, errors = sleeper.communicate()
                self.assertIn("canceling statement due to user request", errors)
                self.assertNotEqual(sleeper.returncode, 0)
            for each in running:
                output, errors = each.result()
                self.assertEqual(errors, "")
                self.assertEqual(output, "".join(f"{n}|\n" for n in range(300)))

    def test_the_script_goes_on_in_its_transaction_by_savepoint(self):
        process = start()
        process.stdin.write("BEGIN;\nSAVEPOINT s;\nSELECT 'before';\n")
        process.stdin.flush()
        self.assertEqual(process.stdout.readline(), "before\n")
        process.stdin.write("SET LOCAL statement_timeout = 50;\nSELECT pg_sleep(60);\nROLLBACK TO s;\nSELECT 'after';\nCOMMIT;\n")
        output, errors = process.communicate()
        self.assertIn("statement timeout", errors)
        self.assertEqual(output, "after\n")


class Errors(unittest.TestCase):
    def test_errors_leave_the_connection_usable(self):
        cases = [
            ("SELEC 1;", "42601"),
            ("SELECT * FROM no_such_table;", "42P01"),
            ("SELECT 1/0;", "22012"),
            ("INSERT INTO constrained VALUES (1);", "23505"),
            ("INSERT INTO constrained VALUES (-1);", "23514"),
            ("SELECT E'\\xff';", "22021"),
            ("COMMIT PREPARED 'nothing';", "42704"),
            ("DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'BZ001'; END $$;", "BZ001"),
        ]
        script = "CREATE TABLE IF NOT EXISTS constrained (id int PRIMARY KEY CHECK (id > 0));\nINSERT INTO constrained VALUES (1);\n"
        script += "".join(f"{query}\n\\echo :LAST_ERROR_SQLSTATE\nSELECT 'usable';\n" for query, _ in cases)
        output, _ = psql(script)
        self.assertEqual(output.splitlines(), [line for _, code in cases for line in (code, "usable")])

    def test_error_with_context(self):
        _, errors = psql("\\set VERBOSITY verbose\nDO $$ BEGIN RAISE EXCEPTION 'broken' USING DETAIL = 'the detail', "
                         "HINT = 'the hint'; END $$;\n")
        for word in "P0001", "broken", "DETAIL:  the detail", "HINT:  the hint", "CONTEXT:  PL/pgSQL", "LOCATION":
            self.assertIn(word, errors)

    def test_warnings_and_notices(self):
        _, errors = psql("DO $$ BEGIN RAISE NOTICE 'a notice'; RAISE WARNING 'a warning'; END $$;\nCOMMIT;\n")
        self.assertEqual(errors.splitlines(), ["NOTICE:  a notice", "WARNING:  a warning",
                                               "WARNING:  there is no transaction in progress"])


class Data(unittest.TestCase):
    def test_unicode_and_bytes(self):
        text = "Zażółć gęślą jaźń, 你好, 🐘"
        self.assertEqual(answer(f"SELECT '{text}', octet_length('{text}');\n"), f"{text}|{len(text.encode())}\n")
        self.assertEqual(answer("SELECT '\\x00ff10'::bytea;\n"), "\\x00ff10\n")

    def test_large_output(self):
        output = answer("SELECT n, repeat('x', 50) FROM generate_series(1, 400000) AS n;\n")
        self.assertEqual(output, "".join(f"{n}|{'x' * 50}\n" for n in range(1, 400_001)))

    def test_large_query(self):
        """A statement of 8 MiB goes through as well as a row of 64 MiB comes back."""
        self.assertEqual(answer(f"SELECT length('{'y' * (8 << 20)}');\n"), f"{8 << 20}\n")
        self.assertEqual(len(answer("SELECT repeat('z', 64 << 20);\n")), (64 << 20) + 1)


class Settings(unittest.TestCase):
    def test_startup_settings_belong_to_their_client(self):
        wanted = {"left": ("Asia/Tokyo", "3s", "left_side"), "right": ("America/New_York", "7s", "right_side")}
        query = ("SELECT current_setting('application_name'), current_setting('TimeZone'), "
                 "current_setting('statement_timeout'), current_setting('search_path'), pg_backend_pid();\n")
        clients, backends = {}, {}
        for side, (zone, timeout, schema) in wanted.items():
            clients[side] = start(environment={
                "PGTZ": zone, "PGAPPNAME": side, "PGOPTIONS": f"-c statement_timeout={timeout} -c search_path={schema}"})
            backends[side] = set()
        for _ in range(10):
            for side, client in clients.items():
                client.stdin.write(query)
                client.stdin.flush()
                *values, backend = client.stdout.readline().strip().split("|")
                self.assertEqual(tuple(values), (side, *wanted[side]))
                backends[side].add(backend)
        for client in clients.values():
            self.assertEqual(client.communicate(), ("", ""))
        if DIRECT:
            self.assertFalse(backends["left"] & backends["right"])
        else:
            self.assertTrue(backends["left"] & backends["right"], "the two never shared a server")

    def test_client_encoding(self):
        """Two encodings at once on the same servers, given at the start and changed on the way."""
        for _ in range(3):
            output = subprocess.run(
                ["/usr/bin/psql", "-XAtq", "-c", "SELECT 'é' || chr(233)", conninfo()], capture_output=True, check=True,
                env={**os.environ, "PGPASSWORD": POOLER.password, "PGCLIENTENCODING": "LATIN1"}).stdout
            self.assertEqual(output, b"\xc3\xa9\xe9\n")  # the two bytes of our é are two characters in LATIN1
            self.assertEqual(answer("SELECT 'é' || chr(233)\n"), "éé\n")
            self.assertEqual(answer("\\encoding LATIN1\nSHOW client_encoding;\n\\encoding UTF8\nSELECT 'é';\n"), "LATIN1\né\n")


class Concurrency(unittest.TestCase):
    def test_many_short_lived_clients(self):
        with ThreadPoolExecutor(CLIENTS) as executor:
            answers = list(executor.map(lambda n: answer(f"SELECT {n};\n"), range(200)))
        self.assertEqual(answers, [f"{n}\n" for n in range(200)])


if __name__ == "__main__":
    unittest.main(verbosity=2)
