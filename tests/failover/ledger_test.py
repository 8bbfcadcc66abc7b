#!/usr/bin/python3
"""Shows that each check of the ledger can fail, and does not where it must not; and that figures and tables say what was."""

import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "clients")]

import figures  # noqa: E402
import table  # noqa: E402
from events import Times  # noqa: E402
from ledger import NO_ERRORS, PROMISE, Allowed, Breach, Doing, Failure, Ledger, Outcome, check, check_waiting, outcome_of_error  # noqa: E402
from trial import Result  # noqa: E402


def ledger_with(*writes: tuple[list[int], Outcome]) -> Ledger:
    ledger = Ledger()
    for ids, outcome in writes:
        ledger.end_write(ledger.begin_write("writer", ids), outcome)
    return ledger


def failure(doing: Doing, sqlstate: str | None, dropped: bool = False, at: float = 1.0) -> Failure:
    return Failure(at, "client", doing, sqlstate, "text", dropped)


def kinds(ledger: Ledger, stored: dict[int, int], **options: object) -> list[str]:
    return [breach.kind for breach in check(ledger, Counter(stored), **options)]


class Rows(unittest.TestCase):
    def test_what_is_as_the_clients_know_it(self) -> None:
        ledger = ledger_with(([1], Outcome.ACKNOWLEDGED), ([2, 3], Outcome.ACKNOWLEDGED), ([4], Outcome.FAILED), ([5, 6], Outcome.FAILED))
        self.assertEqual(kinds(ledger, {1: 1, 2: 1, 3: 1}), [])

    def test_doubt_may_end_either_way(self) -> None:
        for outcome in Outcome.IN_DOUBT, Outcome.OPEN:
            ledger = ledger_with(([1], outcome), ([2, 3], outcome))
            self.assertEqual(kinds(ledger, {}), [])
            self.assertEqual(kinds(ledger, {1: 1, 2: 1, 3: 1}), [])

    def test_lost(self) -> None:
        self.assertEqual(kinds(ledger_with(([1], Outcome.ACKNOWLEDGED)), {}), ["acknowledged write lost"])
        self.assertEqual(kinds(ledger_with(([1, 2], Outcome.ACKNOWLEDGED)), {1: 1}), ["acknowledged write lost"])

    def test_twice(self) -> None:
        for outcome in Outcome.ACKNOWLEDGED, Outcome.IN_DOUBT:
            self.assertEqual(kinds(ledger_with(([1], outcome)), {1: 2}), ["write done twice"])

    def test_failed_and_there(self) -> None:
        self.assertEqual(kinds(ledger_with(([1], Outcome.FAILED)), {1: 1}), ["failed write is there"])
        self.assertEqual(kinds(ledger_with(([1, 2], Outcome.FAILED)), {2: 1}), ["failed write is there"])

    def test_half(self) -> None:
        self.assertEqual(kinds(ledger_with(([1, 2], Outcome.IN_DOUBT)), {2: 1}), ["half a transaction"])

    def test_nobodys(self) -> None:
        self.assertEqual(kinds(ledger_with(([1], Outcome.ACKNOWLEDGED)), {1: 1, 7: 1}), ["row that nobody wrote"])


class Errors(unittest.TestCase):
    def kinds(self, what: Failure, allowed: Allowed = PROMISE) -> list[str]:
        return kinds(Ledger(failures=[what]), {}, allowed=allowed)

    def test_table(self) -> None:
        allowed = [(Doing.SINGLE, "08007"), (Doing.BEGIN, "57P01"), (Doing.IN_TRANSACTION, "08006"), (Doing.IN_TRANSACTION, "57P01"),
                   (Doing.IN_TRANSACTION, "57P02"), (Doing.FAILED_TRANSACTION, "25P02"), (Doing.COMMIT, "08007")]
        for doing, sqlstate in allowed:
            self.assertEqual(self.kinds(failure(doing, sqlstate)), [], f"{doing} {sqlstate}")
            self.assertEqual(self.kinds(failure(doing, sqlstate), NO_ERRORS), [f"error {sqlstate}"])

    def test_outside_the_table(self) -> None:
        refused = [(Doing.SINGLE, "57P01"), (Doing.SINGLE, "08006"), (Doing.SINGLE, None), (Doing.IN_TRANSACTION, "08007"),
                   (Doing.IN_TRANSACTION, "25P02"), (Doing.FAILED_TRANSACTION, "08006"), (Doing.ROLLBACK, "08006"), (Doing.COMMIT, "25P02")]
        refused += [(doing, "25006") for doing in Doing if doing != Doing.LOGIN]
        for doing, sqlstate in refused:
            self.assertEqual(self.kinds(failure(doing, sqlstate)), [f"error {sqlstate}"], f"{doing} {sqlstate}")

    def test_dropped_is_never_right(self) -> None:
        """Not even with an error that would be."""
        for doing in (Doing.SINGLE, Doing.IN_TRANSACTION, Doing.COMMIT):
            self.assertEqual(self.kinds(failure(doing, "08007", dropped=True)), ["dropped connection"])

    def test_login(self) -> None:
        self.assertEqual(self.kinds(failure(Doing.LOGIN, "08006")), ["failed login"])

    def test_an_event_may_allow_more(self) -> None:
        lenient = Allowed(PROMISE.errors, dropped_connections=True, failed_logins=True)
        self.assertEqual(self.kinds(failure(Doing.LOGIN, None), lenient), [])
        self.assertEqual(self.kinds(failure(Doing.SINGLE, None, dropped=True), lenient), [])

    def test_what_the_clients_saw_themselves(self) -> None:
        ledger = Ledger()
        ledger.breach("read from a standby", "reader")
        self.assertEqual(kinds(ledger, {}), ["read from a standby"])

    def test_nothing_counts_once_closed(self) -> None:
        ledger = ledger_with(([1], Outcome.OPEN))
        ledger.closed.set()
        ledger.fail(failure(Doing.SINGLE, "25006"))
        ledger.breach("read from a standby", "reader")
        ledger.end_write(ledger.writes[0], Outcome.FAILED)
        self.assertEqual(kinds(ledger, {1: 1}), [])


class Waiting(unittest.TestCase):
    def test_who_never_went_on(self) -> None:
        ledger = Ledger(successes={"a": [1.0, 5.0], "b": [1.0], "c": []})
        self.assertEqual([breach.detail for breach in check_waiting(ledger, 2.0)], ["b", "c"])
        self.assertEqual(check(ledger, Counter()), [])


class Outcomes(unittest.TestCase):
    def test_before_commit_all_errors_are_failures(self) -> None:
        for doing in Doing.BEGIN, Doing.IN_TRANSACTION:
            self.assertEqual(outcome_of_error(doing, None, True), Outcome.FAILED)

    def test_at_commit_only_a_clear_word_is(self) -> None:
        for doing in Doing.COMMIT, Doing.SINGLE:
            self.assertEqual(outcome_of_error(doing, "25006", False), Outcome.FAILED)
            self.assertEqual(outcome_of_error(doing, "08007", False), Outcome.IN_DOUBT)
            self.assertEqual(outcome_of_error(doing, None, False), Outcome.IN_DOUBT)
            self.assertEqual(outcome_of_error(doing, "57P01", True), Outcome.IN_DOUBT)


class Figures(unittest.TestCase):
    def test_of_a_trial(self) -> None:
        ledger = ledger_with(([1], Outcome.ACKNOWLEDGED), ([2], Outcome.IN_DOUBT))
        ledger.writes[0].answered = 12.5
        ledger.successes = {"a": [9.5, 12.5, 19.0], "b": [9.0, 13.0, 19.5], "c": [9.9]}
        ledger.waits = {"a": [(1.0, 9.5), (11.0, 12.5)], "b": [(9.0, 13.0)], "c": [(9.5, 9.9)]}
        ledger.wanting_since = {"a": None, "b": None, "c": 9.95}
        ledger.failures = [failure(Doing.LOGIN, None, at=11.0), failure(Doing.SINGLE, "25006", at=12.75), failure(Doing.COMMIT, None, True, at=10.5),
                           failure(Doing.SINGLE, "25006", at=21.0)]
        found = figures.of(Result("switchover", "bezel", [Times(10.0, "node1", 12.0, 10.25)], ledger, 20.0,
                                  [Breach("client never went on", "c")], None))
        expected = {"writable_s": 2.0, "old_leader_last_write_s": 0.25, "first_write_after_writable_s": 0.5, "all_clients_after_writable_s": None,
                    "last_error_after_writable_s": 0.75, "clients_that_never_went_on": ["c"], "longest_pause_s": 10.05, "dropped_connections": 1,
                    "failed_logins": 1, "errors": {"25006 single statement": 1, "none commit, dropped": 1}, "writes_in_doubt": 1}
        self.assertEqual({name: found[name] for name in expected}, expected)

    def test_of_several_rounds_the_slowest_counts(self) -> None:
        ledger = ledger_with(([1], Outcome.ACKNOWLEDGED), ([2], Outcome.ACKNOWLEDGED))
        ledger.writes[0].answered, ledger.writes[1].answered = 12.5, 24.0
        ledger.add_client("a")
        ledger.successes = {"a": [12.5, 24.0]}
        rounds = [Times(10.0, "node1", 12.0, 10.25), Times(20.0, "node2", 21.0, 20.75)]
        found = figures.of(Result("switchover", "bezel", rounds, ledger, 30.0, [], None))
        expected = {"happened": 2, "writable_s": 2.0, "old_leader_last_write_s": 0.75, "first_write_after_writable_s": 3.0,
                    "all_clients_after_writable_s": 3.0}
        self.assertEqual({name: found[name] for name in expected}, expected)
        ledger.successes = {"a": [24.0]}  # nothing between the first round's writable and the second round
        found = figures.of(Result("switchover", "bezel", rounds, ledger, 30.0, [], None))
        self.assertIsNone(found["all_clients_after_writable_s"])

    def test_longest_wait(self) -> None:
        waits = [(1.0, 2.5), (4.0, 5.0), (6.0, 12.0)]
        self.assertEqual(figures.longest_wait(waits, None, 3.0, 10.0), 4.0)
        self.assertEqual(figures.longest_wait(waits[:2], None, 3.0, 10.0), 1.0)
        self.assertEqual(figures.longest_wait(waits[:2], 8.0, 3.0, 10.0), 2.0)
        self.assertEqual(figures.longest_wait(waits[:2], 11.0, 3.0, 10.0), 1.0)
        self.assertEqual(figures.longest_wait([], None, 3.0, 10.0), 0.0)

    def test_a_wait_lasts_over_failed_attempts(self) -> None:
        ledger = Ledger()
        ledger.add_client("a")
        ledger.want("a")
        begun = ledger.wanting_since["a"]
        ledger.want("a")
        ledger.succeed("a")
        self.assertEqual(ledger.waits["a"], [(begun, ledger.successes["a"][0])])
        self.assertIsNone(ledger.wanting_since["a"])


class Table(unittest.TestCase):
    CELL = {"event": "blackhole", "pooler": "bezel", "writable_s": 21.04, "first_write_after_writable_s": 0.31, "all_clients_after_writable_s": 1.0,
            "clients_that_never_went_on": [], "longest_pause_s": 21.6, "dropped_connections": 0, "failed_logins": 0,
            "errors": {"08007 commit": 2, "08007 single statement": 1, "57P01 in a transaction, dropped": 4, "08006 in a transaction": 1}, "breaches": {}}
    BAD_CELL = CELL | {"pooler": "pgbouncer", "all_clients_after_writable_s": None, "clients_that_never_went_on": ["a", "b"], "errors": {},
                       "first_write_after_writable_s": None, "breaches": {"read from a standby": 7, "failed login": 3}}

    def test_rows(self) -> None:
        lines = table.table([self.CELL, self.BAD_CELL]).splitlines()[2:]
        self.assertEqual([line.split(" | ")[1] for line in lines], ["PgBouncer 1.18", "Bezel"])
        self.assertTrue(lines[0].endswith("| 21.0 s | never | never (2 clients) | 21.6 s | 0 | 0 | 7 × read from a standby |"), lines[0])
        self.assertTrue(lines[1].endswith("| 21.0 s | +0.3 s | +1.0 s | 21.6 s | 0 | 0 | 3 × 08007, 1 × 08006 |"), lines[1])

    def test_page(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
            table.write(page, "new")
            self.assertEqual(page.read_text(), f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n")
            page.write_text("no place")
            self.assertRaises(ValueError, table.write, page, "new")


if __name__ == "__main__":
    unittest.main()
