#!/usr/bin/python3
"""Clients that log in and leave: at a rate, or all at once, again and again; or that log in and stay. Prints JSON, one event a line.

A thread a client, as what waits is the network, and handshakes and derivations let the other threads run.
"""

import argparse
import itertools
import json
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import scram  # noqa: E402

SSL_REQUEST = struct.pack("!II", 8, 80877103)
TERMINATE = b"X\0\0\0\4"
# What hangs is an error: the run ends.
TIMEOUT_S = 60
PACED_THREADS = 32
# A thousand threads; the default would be 8 MiB each.
STACK_BYTES = 256 * 1024


class Refused(Exception):
    """The pooler said no, or nothing that could be understood."""


class Client:
    """A connection that has logged in; closed by leave()."""

    def __init__(self, given: argparse.Namespace, context: ssl.SSLContext | None):
        self._socket = socket.create_connection((given.host, given.port), TIMEOUT_S)
        try:
            if context:
                self._encrypt(context)
            self._log_in(given)
        except BaseException:
            self._socket.close()
            raise

    def leave(self) -> None:
        self._socket.sendall(TERMINATE)
        self._socket.close()

    def _encrypt(self, context: ssl.SSLContext) -> None:
        self._socket.sendall(SSL_REQUEST)
        if (answer := self._socket.recv(1)) != b"S":
            raise Refused(f"no TLS: {answer!r}")
        self._socket = context.wrap_socket(self._socket)

    def _log_in(self, given: argparse.Namespace) -> None:
        fields = b"".join(part.encode() + b"\0" for part in ("user", given.user, "database", given.database)) + b"\0"
        self._socket.sendall(struct.pack("!II", len(fields) + 8, 3 << 16) + fields)
        exchange = scram.Exchange(given.password)
        reader = self._socket.makefile("rb")
        while True:
            kind, body = self._read_message(reader)
            if kind == b"E":
                raise Refused(body.replace(b"\0", b" ").decode(errors="replace"))
            if kind == b"Z":
                return
            if kind == b"R":
                self._answer(exchange, struct.unpack("!I", body[:4])[0], body[4:])

    @staticmethod
    def _read_message(reader) -> tuple[bytes, bytes]:
        head = reader.read(5)
        if len(head) < 5:
            raise Refused("connection closed during the login")
        return head[:1], reader.read(struct.unpack("!I", head[1:])[0] - 4)

    def _answer(self, exchange: scram.Exchange, request: int, said: bytes) -> None:
        if request == 10:  # AuthenticationSASL
            first = exchange.first()
            self._send_password(b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
        elif request == 11:
            self._send_password(exchange.final(said))
        elif request == 12 and not exchange.is_proved(said):
            raise Refused("the server's signature is wrong")
        elif request not in (0, 12):
            raise Refused(f"authentication request {request}")

    def _send_password(self, body: bytes) -> None:
        self._socket.sendall(b"p" + struct.pack("!I", len(body) + 4) + body)


class Tally:
    """What all threads did."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logins = 0
        self._errors: list[str] = []

    def log_in_and_leave(self, given: argparse.Namespace, context: ssl.SSLContext | None) -> None:
        try:
            Client(given, context).leave()
        except (OSError, Refused) as error:
            with self._lock:
                self._errors.append(str(error))
        else:
            with self._lock:
                self._logins += 1

    def event(self, begin: float, end: float) -> dict:
        return {"event": "result", "logins": self._logins, "errors": len(self._errors), "first_error": next(iter(self._errors), None),
                "begin": begin, "end": end}


def in_threads(count: int, work) -> None:
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def paced(given: argparse.Namespace, context: ssl.SSLContext | None, tally: Tally) -> None:
    """Each login at its time; those that could not keep up with come as soon as they can, and the last before `seconds` are over."""
    begin, numbers = time.monotonic(), itertools.count()

    def work() -> None:
        for number in numbers:
            due = begin + number / given.rate
            if max(due, time.monotonic()) >= begin + given.seconds:
                return
            time.sleep(max(0, due - time.monotonic()))
            tally.log_in_and_leave(given, context)

    in_threads(PACED_THREADS, work)


def storms(given: argparse.Namespace, context: ssl.SSLContext | None, tally: Tally) -> None:
    """All at once; and when the last has been answered, again, until `seconds` are over."""
    deadline = time.monotonic() + given.seconds
    over = False

    def look_at_the_clock() -> None:
        nonlocal over
        over = time.monotonic() >= deadline

    # One of them looks, for all, so that all stay or all go.
    gate = threading.Barrier(given.at_once, action=look_at_the_clock)

    def work() -> None:
        gate.wait()
        while not over:
            tally.log_in_and_leave(given, context)
            gate.wait()

    in_threads(given.at_once, work)


def hold(given: argparse.Namespace, context: ssl.SSLContext | None) -> None:
    """Says when all are in, and keeps them until this process is ended."""
    clients = [Client(given, context) for _ in range(given.hold)]
    print(json.dumps({"event": "holding", "clients": len(clients)}), flush=True)
    signal.pause()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="bench")
    parser.add_argument("--database", default="bench")
    parser.add_argument("--password", default="bench", help="for SCRAM-SHA-256, if it is asked for")
    parser.add_argument("--tls", action="store_true", help="each login by TLS, each with a handshake of its own")
    parser.add_argument("--seconds", type=float, default=5)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=float, help="logins a second")
    how.add_argument("--at-once", type=int, help="so many at the same moment, and again when all are answered")
    how.add_argument("--hold", type=int, help="so many, one after the other, and then nothing until the end")
    return parser.parse_args()


def main() -> int | None:
    given = parse_arguments()
    threading.stack_size(STACK_BYTES)
    context = None
    if given.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if given.hold:
        return hold(given, context)
    tally = Tally()
    begin = time.time()
    (storms if given.at_once else paced)(given, context, tally)
    event = tally.event(begin, time.time())
    print(json.dumps(event))
    return 1 if event["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
