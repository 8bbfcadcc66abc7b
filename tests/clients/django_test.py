#!/usr/bin/python3
"""Django 3.2 (with psycopg2) through the pooler: a small project, its ORM and many threads; run by harness.py."""

import os
import shutil
import subprocess
import sys
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

from endpoint import DIRECT, POOL_SIZE, TLS, assert_servers_shared

PROJECT = Path.cwd() / "project"  # the harness's temporary folder: makemigrations writes into the project
shutil.copytree(Path(__file__).parent / "django_project", PROJECT)
sys.path.insert(0, str(PROJECT))
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"


def manage(*arguments):
    subprocess.run([sys.executable, "-B", "manage.py", *arguments], cwd=PROJECT, check=True, stdin=subprocess.DEVNULL)


manage("makemigrations", "store")
manage("migrate", "--verbosity", "1")

import django  # noqa: E402: the settings must be there first

django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core import signals  # noqa: E402
from django.db import DataError, IntegrityError, OperationalError, connections, transaction  # noqa: E402
from django.db.models import Avg, Count, F, Max, Sum  # noqa: E402
from django.db.utils import ProgrammingError  # noqa: E402
from store.models import Order, Product  # noqa: E402

THREADS = 20
ALIASES = ("default", "fleeting")


def request(work):
    """Runs work as Django runs a view: the connection is kept or closed afterwards as CONN_MAX_AGE says."""
    signals.request_started.send(sender=None)
    try:
        return work()
    finally:
        signals.request_finished.send(sender=None)


def backend(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


class Case(unittest.TestCase):
    def setUp(self):
        Product.objects.all().delete()
        self.apple = Product.objects.create(name="apple", stock=1000, price=Decimal("0.50"))
        self.pear = Product.objects.create(name="pear", stock=1000, price=Decimal("0.75"))

    def tearDown(self):
        connections.close_all()


class Migrations(Case):
    def test_migrate_again_does_nothing(self):
        manage("migrate", "--check")
        manage("makemigrations", "--check")

    def test_roll_back_and_forth(self):
        manage("migrate", "store", "zero", "--verbosity", "0")
        with self.assertRaises(ProgrammingError):
            Product.objects.count()
        manage("migrate", "store", "--verbosity", "0")
        self.assertEqual(Product.objects.count(), 0)


class Orm(Case):
    def test_create_query_update_delete(self):
        Order.objects.bulk_create([Order(product=self.apple, amount=n % 5 + 1) for n in range(1000)], batch_size=200)
        Order.objects.create(product=self.pear, amount=7)
        self.assertEqual(Order.objects.filter(product__name="apple", amount__gt=3).count(), 400)
        self.assertEqual(Order.objects.select_related("product").order_by("-amount").first().product.name, "pear")
        self.assertEqual([p.orders.count() for p in Product.objects.prefetch_related("orders").order_by("name")], [1000, 1])
        self.assertEqual(Order.objects.filter(amount=5).update(amount=F("amount") + 10), 200)
        self.assertEqual(Order.objects.filter(amount=15).delete()[0], 200)
        product, created = Product.objects.get_or_create(name="plum", defaults={"price": 1})
        self.assertTrue(created)
        self.assertEqual(Product.objects.update_or_create(name="plum", defaults={"price": 2})[0].pk, product.pk)
        self.assertEqual(sum(1 for _ in Order.objects.all().iterator(chunk_size=50)), 801)

    def test_aggregates(self):
        Order.objects.bulk_create([Order(product=self.apple, amount=n) for n in range(1, 11)])
        totals = Order.objects.aggregate(sum=Sum("amount"), average=Avg("amount"), most=Max("amount"))
        self.assertEqual(totals, {"sum": 55, "average": 5.5, "most": 10})
        by_product = Product.objects.annotate(count=Count("orders")).values_list("name", "count").order_by("name")
        self.assertEqual(list(by_product), [("apple", 10), ("pear", 0)])

    def test_data_survives_the_way(self):
        text = "Zażółć gęślą jaźń, 你好, 🐘, '\"\\ %s"
        data = bytes(range(256)) * 1024
        created = Product.objects.create(name=text, price=Decimal("12345.67"), details={"text": text, "list": [1, None]},
                                         picture=data)
        product = Product.objects.get(pk=created.pk)
        self.assertEqual((product.name, product.details["text"], bytes(product.picture), product.price),
                         (text, text, data, Decimal("12345.67")))

    def test_auth_application(self):
        User.objects.filter(username="someone").delete()
        User.objects.create_user("someone", password="secret")
        self.assertTrue(User.objects.get(username="someone").check_password("secret"))

    def test_server_side_cursor_inside_a_transaction(self):
        Order.objects.bulk_create([Order(product=self.apple, amount=1) for _ in range(3000)])
        connections["default"].settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = False
        try:
            with transaction.atomic():
                self.assertEqual(sum(order.amount for order in Order.objects.iterator(chunk_size=100)), 3000)
        finally:
            connections["default"].settings_dict["DISABLE_SERVER_SIDE_CURSORS"] = True


class Encryption(Case):
    def test_both_sides(self):
        for alias in ALIASES:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                self.assertEqual(cursor.fetchone(), (TLS,))
            self.assertEqual(connections[alias].connection.info.ssl_in_use, TLS)


class Transactions(Case):
    def test_atomic_and_savepoints(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Product.objects.update(stock=0)
            raise ZeroDivisionError
        self.assertEqual(Product.objects.get(name="apple").stock, 1000)
        with transaction.atomic():
            Product.objects.filter(name="apple").update(stock=1)
            with self.assertRaises(IntegrityError), transaction.atomic():  # a savepoint
                Product.objects.filter(name="pear").update(stock=2)
                Product.objects.create(name="apple", price=1)
            savepoint = transaction.savepoint()
            Product.objects.all().delete()
            transaction.savepoint_rollback(savepoint)
        self.assertEqual(list(Product.objects.order_by("name").values_list("stock", flat=True)), [1, 1000])

    def test_on_commit(self):
        called = []
        with transaction.atomic():
            transaction.on_commit(lambda: called.append(Product.objects.using("fleeting").get(name="apple").stock))
            Product.objects.filter(name="apple").update(stock=5)
            self.assertEqual(called, [])
        self.assertEqual(called, [5])

    def test_errors_have_their_class_and_leave_the_connection_usable(self):
        cases = [
            (IntegrityError, lambda: Product.objects.create(name="apple", price=1)),
            (IntegrityError, lambda: Product.objects.filter(name="apple").update(stock=-1)),
            (DataError, lambda: Product.objects.create(name="x" * 101, price=1)),
            (ProgrammingError, lambda: list(Product.objects.raw("SELECT * FROM no_such_table"))),
        ]
        for error, work in cases:
            with self.subTest(error):
                with self.assertRaises(error):
                    work()
                self.assertEqual(Product.objects.count(), 2)

    def test_select_for_update(self):
        """A thousand pieces, sold one by one by many threads that read, decide and write under a row lock."""
        self.sell(lambda alias: Product.objects.using(alias).select_for_update().get(name="apple"))

    def test_select_for_update_no_wait(self):
        with transaction.atomic():
            Product.objects.select_for_update().get(name="apple")
            with self.assertRaises(OperationalError), transaction.atomic(using="fleeting"):
                Product.objects.using("fleeting").select_for_update(nowait=True).get(name="apple")
            with transaction.atomic(using="fleeting"):
                free = Product.objects.using("fleeting").select_for_update(skip_locked=True)
                self.assertEqual([product.name for product in free], ["pear"])

    def sell(self, lock):
        def seller(number):
            alias = ALIASES[number % 2]

            def sell_one():
                with transaction.atomic(using=alias):
                    product = lock(alias)
                    product.stock -= 1
                    product.save(using=alias)
                    Order.objects.using(alias).create(product_id=product.pk, amount=1)

            for _ in range(15):
                request(sell_one)
            connections.close_all()

        with ThreadPoolExecutor(THREADS) as executor:
            list(executor.map(seller, range(THREADS)))
        self.apple.refresh_from_db()
        self.assertEqual(self.apple.stock, 1000 - THREADS * 15)
        self.assertEqual(Order.objects.aggregate(sum=Sum("amount"))["sum"], THREADS * 15)


class Threads(Case):
    def run_in_threads(self, alias, requests):
        """Each thread serves requests; returns what backends they met, and checks each answer."""
        ready = threading.Barrier(THREADS, timeout=60)

        def serve(number):
            met = []

            def view():
                met.append(backend(alias))
                name = f"{alias} {number} {len(met)}"
                product = Product.objects.using(alias).create(name=name, price=number, stock=number)
                Product.objects.using(alias).filter(pk=product.pk).update(stock=F("stock") + 1)
                product.refresh_from_db(using=alias)
                self.assertEqual((product.name, product.stock), (name, number + 1))
                ready.wait()  # all threads hold a connection, and none a server

            try:
                for _ in range(requests):
                    request(view)
            finally:
                connections.close_all()
            return met

        with ThreadPoolExecutor(THREADS) as executor:
            backends = [each for met in executor.map(serve, range(THREADS)) for each in met]
        self.assertEqual(Product.objects.filter(name__startswith=alias).count(), THREADS * requests)
        return backends

    def test_persistent_connections(self):
        assert_servers_shared(self, self.run_in_threads("default", 15), THREADS)

    def test_a_connection_a_request(self):
        backends = self.run_in_threads("fleeting", 5)
        assert_servers_shared(self, backends, THREADS * 5)

    def test_time_zone_and_name_belong_to_their_connection(self):
        """Django sets the time zone of each connection by SQL when it opens it."""
        moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        wanted = {"default": ("UTC", "django persistent", "2026-01-02 03:04:05"),
                  "fleeting": ("Asia/Tokyo", "django fleeting", "2026-01-02 12:04:05")}
        query = ("SELECT current_setting('TimeZone'), current_setting('application_name'), "
                 "to_char(%s::timestamptz, 'YYYY-MM-DD HH24:MI:SS'), pg_backend_pid()")
        met = {alias: set() for alias in ALIASES}
        for _ in range(10):
            for alias in ALIASES:
                with connections[alias].cursor() as cursor:
                    cursor.execute(query, (moment,))
                    *settings, pid = cursor.fetchone()
                self.assertEqual(tuple(settings), wanted[alias])
                met[alias].add(pid)
        if DIRECT:
            self.assertFalse(met["default"] & met["fleeting"])
        else:
            self.assertTrue(met["default"] & met["fleeting"], "the two never shared a server")
            self.assertLessEqual(len(met["default"] | met["fleeting"]), POOL_SIZE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
