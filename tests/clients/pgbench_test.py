#!/usr/bin/python3
"""pgbench with a thousand clients on 25 server connections, in its three query modes.

Run by harness.py, which looks at the server all the while and fails when it has more connections than the pool allows.
"""

import os
import re
import subprocess
import unittest

from endpoint import POOLER, SERVER

SCALE = 5
CLIENTS = 1000
TRANSACTIONS = 5  # of each client


def sql(query, endpoint=SERVER):
    done = subprocess.run(
        ["/usr/bin/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", endpoint.host, "-p", str(endpoint.port),
         "-U", endpoint.user, endpoint.dbname],
        input=query, capture_output=True, text=True, check=True, env={**os.environ, "PGPASSWORD": endpoint.password})
    return done.stdout.strip()


def pgbench(*arguments):
    done = subprocess.run(
        ["/usr/bin/pgbench", "-h", POOLER.host, "-p", str(POOLER.port), "-U", POOLER.user, *arguments, POOLER.dbname],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, "PGPASSWORD": POOLER.password})
    if done.returncode != 0:
        errors = "\n".join(done.stderr.splitlines()[-10:])  # of a thousand clients, many say the same
        raise AssertionError(f"pgbench {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{errors}")
    return done.stdout


def setUpModule():
    pgbench("--initialize", "--quiet", "--foreign-keys", f"--scale={SCALE}")  # fills the tables by COPY


class Pgbench(unittest.TestCase):
    def run_bench(self, transactions, clients, *arguments):
        """Runs a bench and checks that each transaction was processed and none failed."""
        output = pgbench("-n", "-j", "2", "-c", str(clients), "-t", str(transactions), *arguments)
        wanted = clients * transactions
        self.assertIn(f"number of transactions actually processed: {wanted}/{wanted}\n", output)
        self.assertIn("number of failed transactions: 0 (0.000%)\n", output)
        print(re.search(r"tps = \S+", output)[0], flush=True)

    def check_balances(self, transactions):
        """What TPC-B promises: the three tables and the history have the same sum, and no transaction is missing."""
        sums = sql("SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), "
                   "(SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history), "
                   "(SELECT count(*) FROM pgbench_history)").split("|")
        self.assertEqual(len(set(sums[:4])), 1, sums)
        self.assertEqual(int(sums[4]), transactions)

    def tpcb(self, mode):
        before = int(sql("SELECT count(*) FROM pgbench_history"))
        self.run_bench(TRANSACTIONS, CLIENTS, "-M", mode)
        self.check_balances(before + CLIENTS * TRANSACTIONS)

    def test_initialized_tables(self):
        self.assertEqual(sql("SELECT count(*), min(aid), max(aid) FROM pgbench_accounts"),
                         f"{SCALE * 100000}|1|{SCALE * 100000}")

    def test_tpcb_simple(self):
        self.tpcb("simple")

    def test_tpcb_extended(self):
        self.tpcb("extended")

    def test_tpcb_prepared(self):
        self.tpcb("prepared")

    def test_select_only(self):
        for mode in "simple", "extended", "prepared":
            with self.subTest(mode):
                self.run_bench(100, 100, "-S", "-M", mode)

    def test_a_connection_a_transaction(self):
        """-C logs in anew for each transaction."""
        self.run_bench(5, 50, "-S", "-C", "-M", "prepared")

    def test_pipelines(self):
        script = "pipeline.sql"
        with open(script, "w") as file:
            file.write("\\set aid random(1, 100000)\n\\startpipeline\nBEGIN;\n"
                       + "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n" * 5
                       + "COMMIT;\nSELECT pg_backend_pid();\n\\endpipeline\n")
        for mode in "extended", "prepared":
            with self.subTest(mode):
                self.run_bench(20, 50, "-f", script, "-M", mode)


if __name__ == "__main__":
    unittest.main(verbosity=2)
