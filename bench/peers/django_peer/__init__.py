"""django-scim2 on SQLite: its settings are here, as durable as those of the gateway, with connections that stay."""

import os
from pathlib import Path

SECRET_KEY = "bench"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "django_peer.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_scim", "django_peer"]
MIDDLEWARE = ["django_peer.urls.known"]
# The gateway keeps no passwords; a costly digest of them would be all that is measured.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
AUTH_USER_MODEL = "django_peer.User"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["PEER_FOLDER"]) / "django.sqlite3",
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=wal; PRAGMA synchronous=FULL; PRAGMA mmap_size=1073741824",
            "transaction_mode": "IMMEDIATE",
        },
    }
}
SCIM_SERVICE_PROVIDER = {"NETLOC": "localhost", "SCHEME": "http", "GROUP_MODEL": "django_peer.models.Group"}
