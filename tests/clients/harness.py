#!/usr/bin/python3
"""Runs one driver program against Bezel, or against PostgreSQL itself.

    harness.py --bezel build/release/bezel -- /usr/bin/python3 psycopg2_test.py
    harness.py --direct -- /usr/bin/python3 psycopg2_test.py

It starts a private PostgreSQL, creates a database and a user with a SCRAM password, starts Bezel in front of it with
a pool that is much smaller than the number of clients, runs the program with the connection details in its
environment (see endpoint.py), and ends everything again. With --tls nothing goes without TLS: not to Bezel and not
to the server, whose certificates are verified and to which logins are bound (SCRAM-SHA-256-PLUS). With --direct (or BEZEL_CLIENTS_DIRECT=1) the "pooler" that
the program sees is the server itself: a program that does not pass there is wrong, whatever it says about Bezel.

The run fails when the program fails, when the server ever had more connections than the pool allows, when a server
connection is left inside a transaction, when Bezel ends before it is told to, and when it does not end cleanly then.

Only the standard library is used here, so that a broken driver cannot break the harness.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import random
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

POSTGRES_BIN = "/usr/lib/postgresql/15/bin"
DATABASE = "shop"
USER = "app"
OBSERVER = "observer"  # the superuser: looks at the server directly, never through Bezel
READY_SECONDS_MAX = 60
END_SECONDS_MAX = 30
PR_SET_PDEATHSIG = 1


class HarnessError(Exception):
    """What went wrong, for a person."""


def dies_with_us(signal_number):
    """A preexec_fn: should the harness itself be killed, its children are not left behind."""
    libc = ctypes.CDLL(None, use_errno=True)

    def set_signal():
        libc.prctl(PR_SET_PDEATHSIG, signal_number)

    return set_signal


@contextlib.contextmanager
def reserved_ports(count):
    """Free TCP ports on 127.0.0.1 that no other harness on this machine takes as long as they are held.

    Bezel listens with SO_REUSEPORT, so two of them on one port would not notice each other: hence a lock file, of which
    a harness locks the byte of each of its ports. The ports lie below the kernel's ephemeral range, where outgoing
    connections could take them.
    """
    path = os.path.join(tempfile.gettempdir(), f"bezel-clients-ports-{os.getuid()}.lock")
    ports = []
    with open(path, "w") as lock:
        for port in random.sample(range(20000, 32000), 1000):
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                yield ports
                return
    raise HarnessError("no free ports between 20000 and 32000")


def tail(path, lines_max=200):
    try:
        with open(path, errors="replace") as log:
            lines = log.readlines()
    except OSError as error:
        return f"({error})\n"
    left_off = f"({len(lines) - lines_max} earlier lines left off)\n" if len(lines) > lines_max else ""
    return left_off + "".join(lines[-lines_max:])


def plain_environment(home):
    """The environment without what libpq, Python or npm would take from the person who runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "PYTHON", "NODE", "JAVA_TOOL"))}
    kept["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin"  # Debian's programs; a version manager's shims stay out
    kept["HOME"] = home
    kept["LC_ALL"] = "C.UTF-8"
    kept["TZ"] = "UTC"
    return kept


class Certificate:
    """Of an authority of its own, for 127.0.0.1 and no name."""

    def __init__(self, folder):
        self.authority, self.path, self.key = (os.path.join(folder, name) for name in ("authority.crt", "server.crt", "server.key"))
        authority_key = os.path.join(folder, "authority.key")
        request, extensions = os.path.join(folder, "server.csr"), os.path.join(folder, "server.ext")
        with open(extensions, "w") as file:
            file.write("basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n")
        make = ["-newkey", "rsa:2048", "-nodes"]
        self._openssl("req", "-x509", *make, "-days", "2", "-subj", "/CN=Test Authority", "-keyout", authority_key, "-out", self.authority)
        self._openssl("req", *make, "-subj", "/CN=server", "-keyout", self.key, "-out", request)
        self._openssl("x509", "-req", "-in", request, "-CA", self.authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2",
                      "-extfile", extensions, "-out", self.path)
        for path in self.authority, self.path:
            os.chmod(path, 0o644)

    @staticmethod
    def _openssl(*arguments):
        done = subprocess.run(["/usr/bin/openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise HarnessError(f"openssl failed:\n{done.stderr}")

    def pooler_settings(self):
        return {"client_tls_sslmode": "require", "client_tls_cert_file": self.path, "client_tls_key_file": self.key,
                "server_tls_sslmode": "verify-full", "server_tls_ca_file": self.authority}

    def program_environment(self):
        """libpq's drivers take theirs from here, whatever else they are told."""
        return {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": self.authority, "PGCHANNELBINDING": "require",
                "BEZEL_TEST_AUTHORITY": self.authority}


class Server:
    """A private PostgreSQL on 127.0.0.1, run as user postgres when we are root."""

    def __init__(self, folder, port, connections_max, certificate=None):
        self.port = port
        self.certificate = certificate
        self.password = secrets.token_urlsafe(12)
        self.data = os.path.join(folder, "data")
        self.log_path = os.path.join(folder, "postgresql.log")
        self.connections_max = connections_max
        self.environment = plain_environment(folder)
        self.process = None
        self.identity = {}
        os.mkdir(self.data, 0o700)
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.data, account.pw_uid, account.pw_gid)
            self.identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def start(self):
        self._initialise()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": self.connections_max,
            "shared_buffers": "64MB",
            "max_wal_size": "1GB",
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "autovacuum": "off",
            "log_min_messages": "warning",
        }
        if self.certificate:
            settings |= {"ssl": "on", "ssl_cert_file": self.certificate.path, "ssl_key_file": self._own_key()}
            with open(os.path.join(self.data, "pg_hba.conf"), "w") as rules:
                rules.write("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        command = [f"{POSTGRES_BIN}/postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", env=self.environment,
                start_new_session=True, preexec_fn=dies_with_us(signal.SIGQUIT), **self.identity)
        wait_for_login(self, self.psql_command("postgres"), "PostgreSQL", self.process, self.log_path)

    def _initialise(self):
        password_path = self.data + ".password"
        with open(password_path, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as password_file:
            password_file.write(self.password + "\n")
        if self.identity:
            os.chown(password_path, self.identity["user"], self.identity["group"])
        done = subprocess.run(
            [f"{POSTGRES_BIN}/initdb", "-D", self.data, "-U", OBSERVER, "-A", "scram-sha-256", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync", "--no-instructions", f"--pwfile={password_path}"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/", env=self.environment, **self.identity)
        os.unlink(password_path)
        if done.returncode != 0:
            raise HarnessError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _own_key(self):
        """The key where only the server's user can read it, on which PostgreSQL insists."""
        path = os.path.join(self.data, "server.key")
        shutil.copyfile(self.certificate.key, path)
        os.chmod(path, 0o600)
        if self.identity:
            os.chown(path, self.identity["user"], self.identity["group"])
        return path

    def psql_command(self, database):
        return ["/usr/bin/psql", "-XAtq", "-v", "ON_ERROR_STOP=1",
                f"host=127.0.0.1 port={self.port} dbname={database} user={OBSERVER}"]

    def psql_environment(self):
        return {**self.environment, "PGPASSWORD": self.password}

    def sql(self, statements, database="postgres"):
        done = subprocess.run(self.psql_command(database), input=statements, capture_output=True, text=True,
                              env=self.psql_environment())
        if done.returncode != 0:
            raise HarnessError(f"the server refused:\n{done.stderr}")
        return done.stdout.strip()

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # fast shutdown
            end_process(self.process)


class Bezel:
    """The pooler under test."""

    def __init__(self, program, folder, port):
        self.program = program
        self.port = port
        self.config_path = os.path.join(folder, "bezel.yaml")
        self.log_path = os.path.join(folder, "bezel.log")
        self.userlist_path = os.path.join(folder, "userlist.txt")
        self.environment = plain_environment(folder)
        self.process = None

    def start(self, server, secret, password, settings):
        quoted = secret.replace('"', '""')
        with open(self.userlist_path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as userlist:
            userlist.write(f'"{USER}" "{quoted}"\n')
        document = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.userlist_path,
            "pool_mode": "transaction",
            "max_client_conn": 1100,
            "admin_users": USER,
            **settings,
        }
        with open(self.config_path, "w") as config:
            for name, value in document.items():
                config.write(f"{name}: {json.dumps(value)}\n")
            entry = f"host=127.0.0.1 port={server.port} dbname={DATABASE}"
            if server.certificate:
                entry += " channel_binding=require"
            config.write(f"databases:\n  {DATABASE}: {json.dumps(entry)}\n")
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                [self.program, self.config_path], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=self.environment, start_new_session=True, preexec_fn=dies_with_us(signal.SIGKILL))
        wait_for_login(self, ["/usr/bin/psql", "-XAtq", f"host=127.0.0.1 port={self.port} dbname={DATABASE} user={USER}"],
                       "Bezel", self.process, self.log_path, password)

    def end(self):
        """Ends it by SIGINT and says what was wrong with that, or None."""
        if not self.process:
            return None
        if self.process.poll() is not None:
            return f"Bezel ended too early, with status {self.process.returncode}"
        self.process.send_signal(signal.SIGINT)
        if not end_process(self.process):
            return f"Bezel did not end within {END_SECONDS_MAX} s of SIGINT"
        if self.process.returncode != 0:
            return f"Bezel ended with status {self.process.returncode} after SIGINT"
        return None


def end_process(process):
    """Waits for a process that was told to end; kills it when it does not. True: it ended by itself."""
    try:
        process.wait(END_SECONDS_MAX)
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def wait_for_login(owner, psql, name, process, log_path, password=None):
    """Returns once a login and a query work."""
    environment = {**owner.environment, "PGPASSWORD": password or owner.password, "PGCONNECT_TIMEOUT": "5"}
    until = time.monotonic() + READY_SECONDS_MAX
    while True:
        done = subprocess.run([*psql, "-c", "SELECT 1"], capture_output=True, text=True, env=environment)
        if done.returncode == 0:
            return
        if process.poll() is not None:
            raise HarnessError(f"{name} ended at its start with status {process.returncode}:\n{tail(log_path)}")
        if time.monotonic() > until:
            raise HarnessError(f"{name} was not ready within {READY_SECONDS_MAX} s: {done.stderr}\n{tail(log_path)}")
        time.sleep(0.05)


class ConnectionWatch:
    """Samples, on the server itself, how many connections each (database, user) has."""

    QUERY = ("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM pg_stat_activity "
             f"WHERE backend_type = 'client backend' AND usename <> '{OBSERVER}' GROUP BY datname, usename) AS pools;\n")

    def __init__(self, server):
        self.most = 0
        self.samples = 0
        self.error = None
        self._stop = threading.Event()
        self._psql = subprocess.Popen(server.psql_command("postgres"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, env=server.psql_environment(),
                                      preexec_fn=dies_with_us(signal.SIGKILL))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while not self._stop.wait(0.1):
                self._psql.stdin.write(self.QUERY)
                self._psql.stdin.flush()
                self.most = max(self.most, int(self._psql.stdout.readline()))
                self.samples += 1
        except (OSError, ValueError) as error:
            self.error = error

    def end(self):
        self._stop.set()
        self._thread.join(END_SECONDS_MAX)
        self._psql.stdin.close()
        end_process(self._psql)


def wait_until_no_transaction_is_left(server):
    """None, or what the server still had open after all clients were gone."""
    until = time.monotonic() + END_SECONDS_MAX
    while True:
        left = server.sql("SELECT pid, state, query FROM pg_stat_activity WHERE backend_type = 'client backend' "
                          f"AND usename <> '{OBSERVER}' AND state <> 'idle'")
        if not left:
            return None
        if time.monotonic() > until:
            return f"server connections are still busy though all clients are gone:\n{left}"
        time.sleep(0.1)


def secret_of(server, kind, password):
    """What stands in userlist.txt for the user."""
    if kind == "plain":
        return password
    return server.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")


def run_program(command, environment, folder, seconds_max):
    """Runs the driver program in a session of its own, so that what it started ends with it; None, or what was wrong."""
    process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True,
                               preexec_fn=dies_with_us(signal.SIGKILL))
    try:
        status = process.wait(seconds_max)
    except subprocess.TimeoutExpired:
        return f"the program was still running after {seconds_max} s and was killed"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return None if status == 0 else f"the program ended with status {status}"


def run(arguments, folder, ports):
    """Everything between the start and the end; returns what was wrong, as a list."""
    server_port, pooler_port = ports
    password = secrets.token_urlsafe(12) + ' "\'\\'  # what a quoting mistake would trip over
    connections_max = arguments.direct_connections if arguments.direct else arguments.pool_size + 20
    certificate = Certificate(folder) if arguments.tls else None
    server = Server(folder, server_port, connections_max, certificate)
    bezel = None
    watch = None
    complaints = []
    home = os.path.join(folder, "home")
    os.mkdir(home)
    try:
        server.start()
        quoted = password.replace("'", "''")
        server.sql(f"CREATE ROLE {USER} LOGIN PASSWORD '{quoted}'; CREATE DATABASE {DATABASE} OWNER {USER};")
        if not arguments.direct:
            bezel = Bezel(arguments.bezel, folder, pooler_port)
            settings = {"default_pool_size": arguments.pool_size, "max_prepared_statements": arguments.prepared_max}
            settings |= certificate.pooler_settings() if certificate else {}
            bezel.start(server, secret_of(server, arguments.secret, password), password, settings)
        watch = ConnectionWatch(server)
        environment = {
            **plain_environment(home),
            "BEZEL_TEST_HOST": "127.0.0.1",
            "BEZEL_TEST_PORT": str(bezel.port if bezel else server.port),
            "BEZEL_TEST_DATABASE": DATABASE,
            "BEZEL_TEST_USER": USER,
            "BEZEL_TEST_PASSWORD": password,
            "BEZEL_TEST_DIRECT": "1" if arguments.direct else "0",
            "BEZEL_TEST_POOL_SIZE": str(arguments.pool_size),
            "BEZEL_TEST_PREPARED_MAX": str(arguments.prepared_max),
            "BEZEL_TEST_SERVER_PORT": str(server.port),
            "BEZEL_TEST_OBSERVER": OBSERVER,
            "BEZEL_TEST_OBSERVER_PASSWORD": server.password,
            **(certificate.program_environment() if certificate else {}),
        }
        complaint = run_program(arguments.program, environment, home, arguments.timeout)
        complaints += [complaint] if complaint else []
        complaint = wait_until_no_transaction_is_left(server)
        complaints += [complaint] if complaint else []
    except HarnessError as error:
        complaints.append(str(error))
    finally:
        if watch:
            watch.end()
            complaints += connection_complaints(watch, arguments)
        if bezel:
            complaint = bezel.end()
            complaints += [complaint] if complaint else []
        if server.process and server.process.poll() is not None:
            complaints.append(f"PostgreSQL ended too early, with status {server.process.returncode}")
        server.end()
        if complaints:
            if bezel:
                print(f"---- Bezel's log\n{tail(bezel.log_path)}", file=sys.stderr)
            print(f"---- PostgreSQL's log\n{tail(server.log_path, 60)}", file=sys.stderr)
    return complaints


def connection_complaints(watch, arguments):
    print(f"harness: at most {watch.most} server connections in {watch.samples} samples", flush=True)
    if watch.error or watch.samples == 0:
        return [f"the server could not be watched: {watch.error}"]
    if watch.most == 0:
        return ["the server never saw a connection: the watch, or the program, looked elsewhere"]
    if not arguments.direct and watch.most > arguments.pool_size:
        return [f"the server had {watch.most} connections of one pool, {arguments.pool_size} are allowed"]
    if arguments.direct and watch.most <= arguments.pool_size:
        return ["the program never had more clients than the pool has servers, so it shows nothing about sharing"]
    return []


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bezel", help="the program under test")
    parser.add_argument("--direct", action="store_true", help="no pooler: the program talks to PostgreSQL itself")
    parser.add_argument("--pool-size", type=int, default=5, help="default_pool_size (5)")
    parser.add_argument("--prepared-max", type=int, default=50, help="max_prepared_statements (50)")
    parser.add_argument("--direct-connections", type=int, default=100, help="max_connections with --direct (100)")
    parser.add_argument("--secret", choices=["plain", "scram"], default="plain",
                        help="what userlist.txt holds: the password, or the SCRAM secret of the server")
    parser.add_argument("--tls", action="store_true", help="TLS everywhere, verified, with logins bound to it")
    parser.add_argument("--timeout", type=int, default=120, help="seconds the program may take (120)")
    parser.add_argument("program", nargs="+", help="the program to run and its arguments, after --")
    arguments = parser.parse_args()
    if os.environ.get("BEZEL_CLIENTS_DIRECT") == "1":
        arguments.direct = True
    if not arguments.direct and not arguments.bezel:
        parser.error("--bezel or --direct is needed")
    if not arguments.direct and not os.access(arguments.bezel, os.X_OK):
        parser.error(f"{arguments.bezel} is not a program")
    return arguments


def main():
    arguments = parse_arguments()
    # As a service manager would set it: a thousand clients are more than the usual soft limit of 1024 descriptors.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix="bezel-clients-")
    os.chmod(folder, 0o711)  # PostgreSQL runs as another user and must reach its data
    try:
        with reserved_ports(2) as ports:
            complaints = run(arguments, folder, ports)
    except (HarnessError, OSError) as error:
        complaints = [str(error)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for complaint in complaints:
        print(f"harness: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
