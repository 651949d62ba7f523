"""The agent's configuration file: read, checked, and written by the master."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FILE_NAME = "agent.toml"
DEFAULT_HOOK_TIMEOUT_SECONDS = 30.0

_FIELDS = ("server", "name", "key", "broker_url", "hook", "hook_timeout_seconds")
_SCHEMES = ("redis", "rediss", "redis+socket")
_GUID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_MINIMUM_KEY_CHARACTERS = 16


class ConfigurationError(ValueError):
    """A configuration that cannot be used; the text says what and what was expected."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who this agent is, how it signs, where the broker is, and the inbound hook."""

    server: str
    name: str
    key: str
    broker_url: str
    hook: str = ""
    hook_timeout_seconds: float = DEFAULT_HOOK_TIMEOUT_SECONDS

    def __repr__(self) -> str:
        # The key and the broker's password must not end in a log.
        return f"Configuration(server={self.server!r}, name={self.name!r})"


def default_path(environment: Mapping[str, str]) -> Path:
    """Return where the file is: ``CONSOLE_AGENT_FILE`` or in ``CONSOLE_DATA_DIR``."""
    if named := environment.get("CONSOLE_AGENT_FILE"):
        return Path(named)
    return Path(environment.get("CONSOLE_DATA_DIR") or "var") / FILE_NAME


def load_configuration(path: Path, environment: Mapping[str, str]) -> Configuration:
    """Return the configuration in a file, with the environment's broker if it has one.

    Raises ConfigurationError, which names the file, the field, the value and what was
    expected.
    """
    data = _read(path)
    broker_url, source = _broker_in(environment)
    if broker_url:
        data["broker_url"] = broker_url
    else:
        source = f"{path}: broker_url"
    unknown = sorted(data.keys() - set(_FIELDS))
    if unknown:
        raise ConfigurationError(
            f"{path}: {unknown[0]} is not a setting: expected one of "
            f"{', '.join(_FIELDS)}"
        )
    return Configuration(
        server=_guid(path, data),
        name=_text(path, data, "name"),
        key=_key(path, data),
        broker_url=_broker_url(source, data),
        hook=_hook(path, data),
        hook_timeout_seconds=_timeout(path, data),
    )


def write_configuration(
    path: Path, *, server: str, name: str, key: str, broker_url: str
) -> None:
    """Write the file, readable by its owner only, whole or not at all.

    The hook and its time-out belong to the administrator of the machine: they are
    kept from the file that is there. Raises ConfigurationError when that file cannot
    be understood, because its hook would be lost, and OSError.
    """
    values: dict[str, Any] = {
        "server": server,
        "name": name,
        "key": key,
        "broker_url": broker_url,
    }
    if path.exists():
        before = _read(path)
        for field in ("hook", "hook_timeout_seconds"):
            if field in before:
                values[field] = before[field]
    text = "# The agent of this server. Keep it secret: it holds the server's key.\n"
    text += "".join(f"{field} = {_toml(value)}\n" for field, value in values.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
    )
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def readable_by_others(path: Path) -> bool:
    """Return whether somebody but the owner may read the file with the key."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: there is no such file. The master server writes it when this "
            "server is enrolled; CONSOLE_AGENT_FILE or --config names another one"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: expected TOML: {error}") from error


def _broker_in(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the broker that the environment names and which variable named it."""
    if url := environment.get("CONSOLE_BROKER_URL"):
        return url, "CONSOLE_BROKER_URL"
    if file := environment.get("CONSOLE_BROKER_URL_FILE"):
        try:
            return Path(file).read_text("utf-8").strip(), "CONSOLE_BROKER_URL_FILE"
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"CONSOLE_BROKER_URL_FILE is {file!r}: {error}"
            ) from error
    return "", ""


def _text(path: Path, data: dict[str, Any], field: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(
            f"{path}: {field} is {_shown(value)}: expected a text that is not empty"
        )
    return value


def _guid(path: Path, data: dict[str, Any]) -> str:
    value = _text(path, data, "server")
    if not _GUID.fullmatch(value):
        raise ConfigurationError(
            f"{path}: server is {value!r}: expected the server's guid, up to 64 "
            "letters, digits, hyphens and underscores"
        )
    return value


def _key(path: Path, data: dict[str, Any]) -> str:
    value = _text(path, data, "key")
    if len(value) < _MINIMUM_KEY_CHARACTERS:
        # The value itself is a secret and stays out of the message.
        raise ConfigurationError(
            f"{path}: key has {len(value)} characters: expected the server's key, "
            f"at least {_MINIMUM_KEY_CHARACTERS}"
        )
    return value


def _broker_url(source: str, data: dict[str, Any]) -> str:
    value = data.get("broker_url")
    expected = (
        "expected redis://HOST:PORT/DB, rediss://HOST:PORT/DB or redis+socket:///PATH"
    )
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{source} is {_shown(value)}: {expected}")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{source}: {error}: {expected}") from error
    hidden = value if "@" not in value else f"{parts.scheme}://...@{parts.hostname}"
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(f"{source} is {hidden!r}: {expected}")
    if parts.scheme == "redis+socket":
        if len(parts.path) < 2:
            raise ConfigurationError(f"{source} is {hidden!r}: it has no path")
    elif not parts.hostname or port == 0:
        raise ConfigurationError(f"{source} is {hidden!r}: {expected}")
    return value


def _hook(path: Path, data: dict[str, Any]) -> str:
    value = data.get("hook", "")
    if value == "":
        return ""
    expected = "expected the absolute path of a program that may be run"
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ConfigurationError(f"{path}: hook is {_shown(value)}: {expected}")
    if not Path(value).is_file() or not os.access(value, os.X_OK):
        raise ConfigurationError(f"{path}: hook is {value!r}: {expected}")
    return value


def _timeout(path: Path, data: dict[str, Any]) -> float:
    value = data.get("hook_timeout_seconds", DEFAULT_HOOK_TIMEOUT_SECONDS)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 1 <= value <= 3600
    ):
        raise ConfigurationError(
            f"{path}: hook_timeout_seconds is {_shown(value)}: expected a number of "
            "seconds from 1 to 3600"
        )
    return float(value)


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # A JSON text is a TOML text, but for the one control character JSON leaves alone.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
