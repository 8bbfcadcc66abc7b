#!/usr/bin/python3
"""Shows that reads from a wrong server are found, and others are not."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ledger import Read  # noqa: E402
from reads import KNOWN_AFTER_S, LAG_BYTES_MAX, PERIOD_S, Sample, check_reads, is_readable  # noqa: E402

LEADER, ONE, OTHER = "127.0.0.2", "127.0.0.3", "127.0.0.4"
STEPS = int(KNOWN_AFTER_S / PERIOD_S)


def samples(*readable: set[str], leader: str = LEADER) -> list[Sample]:
    """One after the other, as often as makes them known each."""
    return [Sample(number * PERIOD_S, frozenset(servers), leader) for number, servers in enumerate(servers for servers in readable for _ in range(STEPS))]


def wrong(server: str, known: list[Sample], *, at: float | None = None, may_fall_back: bool = False) -> bool:
    began = known[-1].at + PERIOD_S / 2 if at is None else at
    return [breach.kind for breach in check_reads([Read("reader", began, server, may_fall_back)], known)] == ["read from the wrong server"]


class Reads(unittest.TestCase):
    def test_replicas_are_right_and_the_leader_is_wrong(self) -> None:
        known = samples({ONE, OTHER})
        self.assertFalse(wrong(ONE, known))
        self.assertFalse(wrong(OTHER, known))
        self.assertTrue(wrong(LEADER, known))
        self.assertTrue(wrong(LEADER, known, may_fall_back=True))

    def test_one_that_is_not_readable_any_more_is_wrong_once_that_is_known(self) -> None:
        known = samples({ONE, OTHER}, {OTHER})
        self.assertFalse(wrong(ONE, known, at=(STEPS + 2) * PERIOD_S))
        self.assertTrue(wrong(ONE, known))

    def test_falling_back_takes_a_moment_without_replicas(self) -> None:
        known = samples({ONE}, set())
        self.assertFalse(wrong(LEADER, known, may_fall_back=True))
        self.assertTrue(wrong(LEADER, known))
        # Nor to just anybody.
        self.assertTrue(wrong(OTHER, known, may_fall_back=True))
        self.assertTrue(wrong(LEADER, samples(set(), {ONE}, {ONE}), may_fall_back=True))

    def test_a_pooler_may_be_the_first_to_know(self) -> None:
        known = samples(set(), {ONE})
        self.assertFalse(wrong(ONE, known, at=known[STEPS].at - PERIOD_S / 2))
        self.assertTrue(wrong(ONE, known, at=known[STEPS - 1].at - PERIOD_S / 2))

    def test_nothing_is_said_of_what_nobody_knew(self) -> None:
        self.assertFalse(wrong(LEADER, samples({ONE})[:2]))
        self.assertFalse(wrong(LEADER, samples({ONE}), at=1000.0))


class Figures(unittest.TestCase):
    def test_members(self) -> None:
        replica = {"role": "replica", "state": "running", "lag": 0}
        self.assertTrue(is_readable(replica))
        self.assertTrue(is_readable(replica | {"role": "sync_standby", "state": "streaming", "lag": LAG_BYTES_MAX}))
        for what in {"role": "leader"}, {"state": "stopped"}, {"lag": LAG_BYTES_MAX + 1}, {"lag": "unknown"}:
            self.assertFalse(is_readable(replica | what), what)


if __name__ == "__main__":
    unittest.main()
