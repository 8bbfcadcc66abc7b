"""A small project as it would be behind a transaction-mode pooler; run by django_test.py."""

import os

SECRET_KEY = "only for the tests"
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "store"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def database(name, conn_max_age, zone):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["BEZEL_TEST_HOST"],
        "PORT": os.environ["BEZEL_TEST_PORT"],
        "NAME": os.environ["BEZEL_TEST_DATABASE"],
        "USER": os.environ["BEZEL_TEST_USER"],
        "PASSWORD": os.environ["BEZEL_TEST_PASSWORD"],
        "CONN_MAX_AGE": conn_max_age,
        # Django's own advice for transaction pooling: an iterator() outside a transaction would need WITH HOLD.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "TIME_ZONE": zone,
        "OPTIONS": {"application_name": name},
    }


DATABASES = {
    "default": database("django persistent", None, "UTC"),  # connections live as long as their thread
    "fleeting": database("django fleeting", 0, "Asia/Tokyo"),  # a connection a request
}
