"""SCRAM-SHA-256 (RFC 5802, RFC 7677): the keys of a password, and what a client says."""

import base64
import functools
import hashlib
import hmac
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    client: bytes
    stored: bytes
    server: bytes


# Where a pooler keeps a verifier its salt stays, and a program that logs in a thousand times need not derive a thousand times.
@functools.lru_cache
def keys_of(password: str, salt: bytes, iterations: int) -> Keys:
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return Keys(client, hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))


class Exchange:
    """One login of a client without channel binding. The user's name stays empty, as PostgreSQL's protocol has it elsewhere."""

    def __init__(self, password: str, nonce: str | None = None, user: str = "") -> None:
        self._password = password
        self._bare = f"n={user},r={nonce or base64.b64encode(os.urandom(18)).decode()}"
        self._signature = b""

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def final(self, server_first: bytes) -> bytes:
        """The answer to what the server said first."""
        nonce, salt, iterations = (field[2:] for field in server_first.decode().split(",")[:3])
        keys = keys_of(self._password, base64.b64decode(salt), int(iterations))
        unproved = f"c=biws,r={nonce}"
        said = f"{self._bare},{server_first.decode()},{unproved}".encode()
        self._signature = hmac.digest(keys.server, said, "sha256")
        proof = bytes(a ^ b for a, b in zip(keys.client, hmac.digest(keys.stored, said, "sha256")))
        return f"{unproved},p={base64.b64encode(proof).decode()}".encode()

    def is_proved(self, server_final: bytes) -> bool:
        """Whether the server knows the password too."""
        return server_final == b"v=" + base64.b64encode(self._signature)
