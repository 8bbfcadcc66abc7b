"""The first step of PostgreSQL's protocol, enough to see whether a pooler answers."""

import socket
import struct


class NotReady(Exception):
    """Nothing listens yet, or the login was refused."""


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    if host.startswith("/"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            connection.connect(f"{host}/.s.PGSQL.{port}")
        except OSError:
            connection.close()
            raise
        return connection
    return socket.create_connection((host, port), timeout_s)


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise NotReady("connection closed during the login")
        data += part
    return data


def listens(host: str, port: int) -> bool:
    """Whether a connection is accepted; says nothing to it, so that no server connection is opened for it."""
    try:
        _connect(host, port, 5).close()
    except OSError:
        return False
    return True


def log_in(host: str, port: int, user: str = "bench", database: str = "bench", timeout_s: float = 5) -> None:
    """Logs in and out. Returns once the login is answered: by ReadyForQuery or by a request for a password."""
    parameters = b"".join(part.encode() + b"\0" for part in ("user", user, "database", database)) + b"\0"
    try:
        with _connect(host, port, timeout_s) as connection:
            connection.sendall(struct.pack("!II", len(parameters) + 8, 3 << 16) + parameters)
            while True:
                kind, length = struct.unpack("!cI", _read_exactly(connection, 5))
                body = _read_exactly(connection, length - 4)
                if kind == b"E":
                    raise NotReady(body.replace(b"\0", b" ").decode(errors="replace"))
                if kind == b"R" and body[:4] != b"\0\0\0\0":
                    return
                if kind == b"Z":
                    connection.sendall(b"X\0\0\0\4")
                    return
    except OSError as error:
        raise NotReady(str(error)) from error


def answers_logins(host: str, port: int) -> bool:
    try:
        log_in(host, port)
    except NotReady:
        return False
    return True
