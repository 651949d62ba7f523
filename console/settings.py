"""The Django settings. What an administrator may change is declared in `console.env`."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF

from console import __version__, env

# --- The environment -------------------------------------------------------------------

IS_LOOKING = env.only_looks(sys.argv)
ENVIRONMENT = env.read(is_looking=IS_LOOKING)

BASE_DIR = env.REPOSITORY
VERSION = __version__
DATA_DIR: Path = ENVIRONMENT.data_dir
LISTEN = ENVIRONMENT.listen
PUBLIC_URL = ENVIRONMENT.public_url
AGENT_FILE: Path = ENVIRONMENT.agent_file
BROKER_URL = ENVIRONMENT.broker_url
IS_BROKER_EMBEDDED = ENVIRONMENT.is_broker_embedded
BROKER_SOCKET: Path = ENVIRONMENT.broker_socket

SECRET_KEY = ENVIRONMENT.secret_key
DEBUG = ENVIRONMENT.is_debug
ALLOWED_HOSTS = list(ENVIRONMENT.allowed_hosts)
TIME_ZONE = ENVIRONMENT.time_zone

# --- The apps --------------------------------------------------------------------------

INSTALLED_APPS = [
    "console",
    "console.kit",
    "console.accounts",
    "storepoints",
    "alerts",
    "notifications",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "crispy_forms",
    "crispy_bootstrap5",
    "django_include_bootstrap",
    "django_htmx",
    "lucide",
    "django_filters",
    "csp",
    "allauth",
    "allauth.account",
]

MIDDLEWARE = [
    # Before the host is looked at, and before anything asks the database.
    "console.health.HealthMiddleware",
    "console.proxies.ClientAddressMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "console.accounts.middleware.TimeZoneMiddleware",
]

ROOT_URLCONF = "console.urls"
WSGI_APPLICATION = "console.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
CRISPY_ALLOWED_TEMPLATE_PACKS = "bootstrap5"
CRISPY_TEMPLATE_PACK = "bootstrap5"

# --- The database ----------------------------------------------------------------------


def _database() -> dict[str, Any]:
    """Return Django's description of the database that CONSOLE_DATABASE_URL names."""
    database: dict[str, Any] = dict(
        dj_database_url.parse(
            ENVIRONMENT.database_url, conn_max_age=600, conn_health_checks=True
        )
    )
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["OPTIONS"] = {
            # A transaction that reads first and writes later cannot wait for the lock
            # in SQLite's deferred mode; it fails at once. Immediate ones queue up.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": (
                "PRAGMA query_only=ON;"
                if IS_LOOKING
                else "PRAGMA journal_mode=WAL;"
                "PRAGMA synchronous=NORMAL;"
                "PRAGMA foreign_keys=ON;"
                "PRAGMA journal_size_limit=67108864;"
            ),
        }
    return database


DATABASES = {"default": _database()}

# In the database and not in the broker, so that rate limits hold across processes and
# signing in works while the broker is away.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "console_cache",
    }
}

# --- Sign-in ---------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "console.accounts.backends.RoleBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in/"

# Accounts are made by administrators, so nobody signs up and no address is verified.
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_USER_MODEL_USERNAME_FIELD = "username"
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_ADAPTER = "console.accounts.adapter.AccountAdapter"
ACCOUNT_RATE_LIMITS = {
    # Of one address, and of one name from one address: the adapter makes that "key", so
    # that nobody can lock somebody else out.
    "login_failed": "10/m/ip,5/5m/key",
    # What is no link of this console; whoever guesses is told to wait.
    "mail_link_failed": "10/m/ip",
}
ACCOUNT_FORMS = {"login": "console.accounts.sign_in.SignInForm"}

SESSION_ENGINE = "django.contrib.sessions.backends.db"
SESSION_COOKIE_NAME = "console_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = "console_csrf"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "console.views.errors.csrf_failure"

# --- Security --------------------------------------------------------------------------

IS_HTTPS = PUBLIC_URL.startswith("https://")
SESSION_COOKIE_SECURE = IS_HTTPS
CSRF_COOKIE_SECURE = IS_HTTPS
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
#: How many of the last addresses in X-Forwarded-For are believed (console.proxies).
TRUSTED_PROXIES = ENVIRONMENT.trusted_proxies
if IS_HTTPS:
    if TRUSTED_PROXIES:
        # TLS ends at a proxy: gunicorn itself never speaks it. Without one that is
        # known, anybody could set this header. See docs/configuration.md.
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds())
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],  # Bootstrap's own icons are data: images
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    },
}

SILENCED_SYSTEM_CHECKS = [
    # Redirecting to HTTPS is the proxy's part: it alone knows whether there is TLS, and
    # on 127.0.0.1 there is none.
    "security.W008",
    # The next two speak about every sub-domain of a domain that is not ours to decide.
    "security.W005",
    "security.W021",
]
if not IS_HTTPS:
    # Without TLS a "secure" cookie or HSTS would lock everybody out. `doctor` warns when
    # the console is reachable from other machines in this way.
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W012", "security.W016"]

# --- Language and time -----------------------------------------------------------------

LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True

# --- Static files ----------------------------------------------------------------------


def _static_version() -> str:
    """Return a short hash that changes when any static file does.

    It is part of STATIC_URL, so that files may be cached for ever, also those that an ES
    module or a style sheet refers to by a relative path, and nothing has to be collected
    or rewritten before the first start (docs/decisions). Our own files go in by content,
    because times differ between two checkouts; the packages' by their versions.
    """
    digest = hashlib.sha256()
    for package in ("django-include-bootstrap", "django-htmx", "lucide"):
        digest.update(f"{package}={metadata.version(package)}\n".encode())
    for path in _own_static_files():
        digest.update(f"{path.relative_to(BASE_DIR)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _own_static_files() -> Iterator[Path]:
    yield from sorted(
        path for path in (BASE_DIR / "static").rglob("*") if path.is_file()
    )


STATIC_VERSION = _static_version()
STATIC_URL = f"/static/{STATIC_VERSION}/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False


def WHITENOISE_IMMUTABLE_FILE_TEST(path: str, url: str) -> bool:  # noqa: N802
    """Say that every static file may be cached for ever: the URL has its version."""
    return not DEBUG


# --- Celery ----------------------------------------------------------------------------

CELERY_BROKER_URL = BROKER_URL
CELERY_TIMEZONE = "UTC"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "console"
#: The queues that the console's own workers read; the agents read server.<guid>.
CONSUMED_QUEUES = ("console", "reports", "notifications")
CELERY_TASK_ROUTES = {
    "storepoints.record_report": {"queue": "reports"},
    # It must not wait behind mail that it measures.
    "notifications.follow_alerts": {
        "task": "notifications.follow_alerts",
        "schedule": 15.0,
        "options": {"expires": 30},
    },
    "notifications.advance_drill": {"queue": "console"},
    "notifications.*": {"queue": "notifications"},
}
# A task is acknowledged when it is done: a worker that is killed loses none. Each one is
# written so that doing it twice changes nothing.
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_PUBLISH_RETRY = True
# Publishing happens in requests and in beat: fail within a second or two, because what a
# lost message would have done the next sweep does.
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 2,
    "interval_start": 0.1,
    "interval_step": 0.2,
    "interval_max": 0.5,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_TIMEOUT = 4
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Unacknowledged messages of a killed worker come back after this many seconds.
    "visibility_timeout": 120,
    "socket_keepalive": True,
    "socket_connect_timeout": 4,
    "socket_timeout": 10,
    "health_check_interval": 10,
    "retry_on_timeout": True,
    # For publishing. Left to itself Kombu tries for six seconds, in somebody's request.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BEAT_MAX_LOOP_INTERVAL = 2
CELERY_BEAT_SCHEDULER = "console.beat:Scheduler"
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "storepoints.tick": {
        "task": "storepoints.tick",
        "schedule": 2.0,
        "options": {"expires": 4},
    },
    "alerts.sweep": {
        "task": "alerts.sweep",
        "schedule": 5.0,
        "options": {"expires": 10},
    },
    "notifications.sweep": {
        "task": "notifications.sweep",
        "schedule": 5.0,
        "options": {"expires": 10},
    },
    "notifications.advance_drill": {
        "task": "notifications.advance_drill",
        "schedule": 2.0,
        "options": {"expires": 4},
    },
    "alerts.reconcile_everything": {
        "task": "alerts.reconcile_everything",
        "schedule": 600.0,
        "options": {"expires": 300},
    },
    "storepoints.keep_history": {
        "task": "storepoints.keep_history",
        "schedule": 300.0,
        "options": {"expires": 240},
    },
    # Not once a night: beat keeps its schedule in memory, and a console that is switched
    # off at night would never get there.
    "console.housekeeping": {
        "task": "console.housekeeping",
        "schedule": 3600.0,
        "options": {"expires": 1800},
    },
    # Looks whether a call is due, and whether all is well.
    "console.call_out": {
        "task": "console.call_out",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    # Looks whether one is due: once a day, and an hour after one that failed.
    "console.export": {
        "task": "console.export",
        "schedule": 300.0,
        "options": {"expires": 240},
    },
}

# --- Logging ---------------------------------------------------------------------------


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "console.logs.LineFormatter"},
    },
    "filters": {
        "broker_away": {"()": "storepoints.logs.BrokerAwayFilter"},
        "mail_link": {"()": "console.logs.MailLinkFilter"},
        "not_ready": {"()": "console.logs.NotReadyFilter"},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["broker_away", "mail_link"],
        },
    },
    "root": {"handlers": ["stderr"], "level": ENVIRONMENT.log_level},
    "loggers": {
        # A wrong host name or a stale form is somebody else's mistake, said to them.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "django.security.RequestDataTooBig": {"level": "CRITICAL"},
        "django.security.TooManyFieldsSent": {"level": "CRITICAL"},
        "django.security.TooManyFilesSent": {"level": "CRITICAL"},
        "django.request": {"level": "ERROR", "filters": ["not_ready"]},
        # It names whole addresses, and those of channels are passwords. What fails is
        # raised, and said without.
        "urllib3": {"level": "CRITICAL"},
    },
}
