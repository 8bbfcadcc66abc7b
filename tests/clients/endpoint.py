"""What harness.py tells a Python driver program: where the pooler is, and where the server itself."""

import os
import unittest
from typing import NamedTuple


class Endpoint(NamedTuple):
    """One place to connect to, in libpq's words; `._asdict()` suits psycopg2 and psycopg."""

    host: str
    port: int
    dbname: str
    user: str
    password: str


# The pooler; PostgreSQL itself when the harness runs with --direct.
POOLER = Endpoint(
    os.environ["BEZEL_TEST_HOST"],
    int(os.environ["BEZEL_TEST_PORT"]),
    os.environ["BEZEL_TEST_DATABASE"],
    os.environ["BEZEL_TEST_USER"],
    os.environ["BEZEL_TEST_PASSWORD"],
)

# The server behind it, as superuser: for looking only.
SERVER = Endpoint(
    os.environ["BEZEL_TEST_HOST"],
    int(os.environ["BEZEL_TEST_SERVER_PORT"]),
    os.environ["BEZEL_TEST_DATABASE"],
    os.environ["BEZEL_TEST_OBSERVER"],
    os.environ["BEZEL_TEST_OBSERVER_PASSWORD"],
)

DIRECT = os.environ["BEZEL_TEST_DIRECT"] == "1"
TLS = "BEZEL_TEST_AUTHORITY" in os.environ
POOL_SIZE = int(os.environ["BEZEL_TEST_POOL_SIZE"])
PREPARED_MAX = int(os.environ["BEZEL_TEST_PREPARED_MAX"])


def assert_servers_shared(test, backend_pids, clients):
    """`clients` connections, all open at once, ran transactions on these backends: few when pooled, one each when not.

    More than one backend must have been at work as well, or nothing was shown about moving between them.
    """
    distinct = len(set(backend_pids))
    if DIRECT:
        test.assertEqual(distinct, clients)
    else:
        test.assertLessEqual(distinct, POOL_SIZE)
        test.assertGreater(distinct, 1)


def not_carried(test_method):
    """Marks a test of session state that Bezel does not carry, as docs/session-state.md says.

    It must pass on a direct connection and fail through Bezel: when Bezel learns to carry it, this mark and the line in
    the documentation go.
    """
    return test_method if DIRECT else unittest.expectedFailure(test_method)
