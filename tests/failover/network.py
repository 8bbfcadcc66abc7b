"""Where the nodes of a cluster live: on the loopback network, or each in a network namespace that can be cut off without a word.

The namespaces hang on a bridge, and the host (with it etcd and the pooler) is on the bridge too. It takes root, and a kernel that lets it:
Namespaces.unavailable() says what is missing.
"""

import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

from processes import Failed

_ATTEMPTS = 20


def _run(*argv: object) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Loopback:
    """Each node at an address of its own of the loopback network, on the same ports; nothing can be cut."""

    host_address = "127.0.0.1"

    def __init__(self, ports: list[int]):
        self._free_ports = ports
        self._ports: dict[int, int] = {}
        self._nodes: list[str] = []

    def port(self, default: int) -> int:
        """The port for servers that would have the default one on machines of their own."""
        if default not in self._ports:
            self._ports[default] = self._free_ports.pop()
        return self._ports[default]

    def address(self, node: str) -> str:
        if node not in self._nodes:
            self._nodes.append(node)
        return f"127.0.0.{2 + self._nodes.index(node)}"

    def prefix(self, _node: str) -> list[str]:
        return []

    def rejoin_all(self) -> None:
        pass


class Namespaces:
    """A namespace for each node, named after the guard's process."""

    def __init__(self, guard_pid: int, nodes: list[str]):
        self._guard_pid = guard_pid
        self._nodes = {name: number for number, name in enumerate(nodes, 1)}
        self._net = _make_bridge(guard_pid)
        self.host_address = f"{self._net}.254"
        for name, number in self._nodes.items():
            namespace, outer, inner = self._namespace(name), f"bzf{guard_pid}v{number}", "eth0"
            _run("ip", "netns", "add", namespace)
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            _run("ip", "link", "set", outer, "master", _bridge(guard_pid), "up")
            _run("ip", "-n", namespace, "address", "add", f"{self.address(name)}/24", "dev", inner)
            _run("ip", "-n", namespace, "link", "set", inner, "up")
            _run("ip", "-n", namespace, "link", "set", "lo", "up")
        self._check()

    def port(self, default: int) -> int:
        return default

    def address(self, node: str) -> str:
        return f"{self._net}.{self._nodes[node]}"

    def prefix(self, node: str) -> list[str]:
        """In front of a command that shall run on the node."""
        return ["nsenter", f"--net=/run/netns/{self._namespace(node)}"]

    def cut_off(self, node: str) -> None:
        """The node's packets vanish, in both directions: no FIN, no RST, no ICMP."""
        self._iptables(node, "INPUT", "-i", "eth0", "-j", "DROP")
        self._iptables(node, "OUTPUT", "-o", "eth0", "-j", "DROP")

    def cut_from_port(self, node: str, port: int) -> None:
        """The same for the node's connections to one port of the host."""
        self._iptables(node, "INPUT", "-i", "eth0", "-p", "tcp", "--sport", port, "-j", "DROP")
        self._iptables(node, "OUTPUT", "-o", "eth0", "-p", "tcp", "--dport", port, "-j", "DROP")

    def rejoin_all(self) -> None:
        for name in self._nodes:
            _run(*self.prefix(name), "iptables", "-w", "-F")

    def _namespace(self, node: str) -> str:
        return f"bezel-failover-{self._guard_pid}-{node}"

    def _iptables(self, node: str, chain: str, *rule: object) -> None:
        _run(*self.prefix(node), "iptables", "-w", "-A", chain, *rule)

    def _check(self) -> None:
        """A firewall of the host may stand on its bridges."""
        first, second = list(self._nodes)[:2]
        program = "import socket; s = socket.socket(); s.settimeout(3); print(s.connect_ex(('{}', 1)))"
        for prefix, target in ((self.prefix(first), self.address(second)), ([], self.address(first)), (self.prefix(first), self.host_address)):
            until = time.monotonic() + 5
            while _run(*prefix, "/usr/bin/python3", "-c", program.format(target)).strip() != "111":  # refused is reached
                if time.monotonic() > until:
                    raise Failed(f"packets from {prefix or 'the host'} do not reach {target}")

    @staticmethod
    def unavailable(guard_pid: int) -> str | None:
        """None, or why there can be no namespaces here."""
        if os.geteuid() != 0:
            return "network namespaces take root"
        for program in ("ip", "nsenter", "iptables"):
            if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
                return f"{program} is not installed"
        try:
            trial = Namespaces(guard_pid, ["a", "b"])
            trial.cut_off("a")
        except (Failed, OSError) as error:
            return str(error)
        finally:
            remove_all(guard_pid)
        return None


def _bridge(guard_pid: int) -> str:
    return f"bzf{guard_pid}b"


def _make_bridge(guard_pid: int) -> str:
    """Makes the bridge in a part of 10.0.0.0/8 that is not in use here; returns the part's first three numbers."""
    used = _run("ip", "-o", "-4", "route", "show")
    for _ in range(_ATTEMPTS):
        net = f"10.{random.randrange(180, 250)}.{random.randrange(1, 255)}"
        if f"{net}." not in used:
            _run("ip", "link", "add", _bridge(guard_pid), "type", "bridge")
            _run("ip", "address", "add", f"{net}.254/24", "dev", _bridge(guard_pid))
            _run("ip", "link", "set", _bridge(guard_pid), "up")
            return net
    raise Failed("no free network in 10.0.0.0/8")


def remove_all(guard_pid: int) -> None:
    """Removes what Namespaces made for the guard, and what guards left that are no more."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        return
    for entry in Path("/run/netns").glob("bezel-failover-*-*"):
        pid = int(entry.name.split("-")[2])
        if pid == guard_pid or not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "netns", "delete", entry.name], capture_output=True)
    for entry in Path("/sys/class/net").glob("bzf*"):
        pid = int(re.match(r"bzf(\d+)", entry.name)[1])
        if pid == guard_pid or not Path(f"/proc/{pid}").exists():
            subprocess.run(["ip", "link", "delete", entry.name], capture_output=True)
