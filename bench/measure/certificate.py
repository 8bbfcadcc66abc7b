"""A certificate for the poolers and the server, for the time of the benchmark."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from measure.workplace import Workplace

# What most servers have: RSA, whose signatures are the dearest part of a handshake.
KIND = "rsa:2048"


@dataclass(frozen=True)
class Certificate:
    path: Path
    key: Path


def make(place: Workplace) -> Certificate:
    """Signed by itself, and readable for whom the servers run as."""
    certificate = Certificate(place.path("server.crt"), place.path("server.key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", KIND, "-nodes", "-days", "2", "-subj", "/CN=bench", "-keyout", certificate.key,
                    "-out", certificate.path], capture_output=True, check=True, timeout=60)
    certificate.key.chmod(0o600)
    if place.user:
        shutil.chown(certificate.key, place.user, place.user)
    return certificate
