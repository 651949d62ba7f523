"""The environment variables: what is understood, and how a mistake is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from console import env
from tests import processes

SECRET = "correct-horse-battery-staple-" * 2


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CONSOLE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CONSOLE_DATA_DIR", str(tmp_path / "data"))


def refusal() -> str:
    with pytest.raises(env.Misconfigured) as caught:
        env.read()
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONSOLE_DEBUG", "maybe", "CONSOLE_DEBUG is 'maybe'; expected on or off"),
        ("CONSOLE_LISTEN", "8000x", "CONSOLE_LISTEN is '8000x'; expected HOST:PORT"),
        ("CONSOLE_LISTEN", "127.0.0.1:0", "the port 1 to 65535"),
        ("CONSOLE_LISTEN", "127.0.0.1:65536", "the port 1 to 65535"),
        ("CONSOLE_LISTEN", "::1:8000", "[::1]:8000"),
        ("CONSOLE_TRUSTED_PROXIES", "-1", "expected how many proxies"),
        ("CONSOLE_TRUSTED_PROXIES", "10", "0 to 9"),
        ("CONSOLE_TIME_ZONE", "Mars/Olympus", "expected a time zone of the IANA"),
        ("CONSOLE_TIME_ZONE", "../etc/passwd", "expected a time zone of the IANA"),
        ("CONSOLE_LOG_LEVEL", "loud", "expected one of DEBUG, INFO, WARNING"),
        ("CONSOLE_PUBLIC_URL", "console.example.com", "https://console.example.com"),
        ("CONSOLE_PUBLIC_URL", "https://example.com/console", "without a path"),
        ("CONSOLE_PUBLIC_URL", "https://example.com:port", "without a path"),
        ("CONSOLE_ALLOWED_HOSTS", "https://a.example", "without scheme or port"),
        ("CONSOLE_ALLOWED_HOSTS", "a.example, b c", "'b c' is not one"),
        ("CONSOLE_DATA_DIR", "/etc/hostname", "expected the path of a directory"),
        ("CONSOLE_DATA_DIR", "/proc/no/such", "is there or can be made"),
        ("CONSOLE_SECRET_KEY", "short", "expected at least 50 random characters"),
        ("CONSOLE_SECRET_KEY", "a" * 60, "expected at least 50 random characters"),
        ("CONSOLE_DATABASE_URL", "mysql://h/x", "unknown scheme 'mysql'"),
        ("CONSOLE_DATABASE_URL", "console.sqlite3", "unknown scheme 'none'"),
        ("CONSOLE_DATABASE_URL", "sqlite://:memory:", "sqlite:////absolute"),
        ("CONSOLE_DATABASE_URL", "postgres://h:54x2/n", "the port is no number"),
        ("CONSOLE_DATABASE_URL", "postgres://h:99999/n", "the port is no number"),
        ("CONSOLE_DATABASE_URL", "postgres://host", "name of the database is missing"),
        ("CONSOLE_BROKER_URL", "amqp://host", "unknown scheme 'amqp'"),
        ("CONSOLE_BROKER_URL", "redis://", "the host is missing"),
        ("CONSOLE_BROKER_URL", "redis://h:x/0", "the port is no number"),
        ("CONSOLE_BROKER_URL", "redis://h/first", "after the slash is a number"),
        ("CONSOLE_BROKER_URL", "unix://rel/path.sock", "path must be absolute"),
    ],
)
def test_it_refuses_a_wrong_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)

    text = refusal()

    assert f"{name} is " in text
    assert message in text


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("CONSOLE_SECRET_KEY", "hunter2", "hunter2"),
        ("CONSOLE_DATABASE_URL", "postgres://u:hunter2@h:99999/n", "hunter2"),
        ("CONSOLE_DATABASE_URL", "u:hunter2@h", "hunter2"),
        ("CONSOLE_BROKER_URL", "redis://:hunter2@h/x", "hunter2"),
        ("CONSOLE_BROKER_URL", "http://[hunter2", "hunter2"),
        ("CONSOLE_BROKER_URL", "redis://u:p/hunter2@h:1/0", "hunter2"),
    ],
)
def test_it_never_echoes_a_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, secret: str
) -> None:
    monkeypatch.setenv(name, value)

    text = refusal()

    assert f"{name} is " in text
    assert secret not in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CONSOLE_LISTN", "did you mean CONSOLE_LISTEN?"),
        ("CONSOLE_DATABASE", "did you mean CONSOLE_DATABASE_URL?"),
        ("CONSOLE_SECRETKEY_FILE", "did you mean CONSOLE_SECRET_KEY_FILE?"),
        ("CONSOLE_ZZZZ", "the names are in docs/configuration.md."),
    ],
)
def test_it_refuses_an_unknown_name(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setenv(name, "x")

    assert f"{name} is not a setting of the console; {message}" in refusal()


def test_it_names_every_mistake_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_DEBUG", "maybe")
    monkeypatch.setenv("CONSOLE_LISTEN", "nowhere")

    text = refusal()

    assert "CONSOLE_DEBUG" in text
    assert "CONSOLE_LISTEN" in text


def test_names_read_elsewhere_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_ADMIN_PASSWORD", "x")
    monkeypatch.setenv("CONSOLE_TEST_DATABASE", "sqlite")

    assert env.read().log_level == "WARNING"


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_BROKER_URL", "")
    monkeypatch.setenv("CONSOLE_LISTEN", " ")

    environment = env.read()

    assert environment.is_broker_embedded
    assert str(environment.listen) == "127.0.0.1:8000"


def test_it_reads_a_value_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    monkeypatch.setenv("CONSOLE_SECRET_KEY_FILE", str(tmp_path / "key"))

    assert env.read().secret_key == SECRET


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_it_refuses_an_unreadable_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("CONSOLE_SECRET_KEY_FILE", str(tmp_path / "key"))

    assert "expected the path of a readable text file" in refusal()


def test_it_refuses_a_value_and_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONSOLE_LISTEN", "8001")
    monkeypatch.setenv("CONSOLE_LISTEN_FILE", str(tmp_path / "listen"))

    assert "CONSOLE_LISTEN and CONSOLE_LISTEN_FILE are both set" in refusal()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("8080", ("127.0.0.1", 8080)),
        ("*:80", ("0.0.0.0", 80)),
        ("[::1]:443", ("::1", 443)),
        ("console.example.com:8000", ("console.example.com", 8000)),
    ],
)
def test_it_parses_an_address(value: str, expected: tuple[str, int]) -> None:
    assert env.parse_listen(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("redis://h", "redis://h"),
        ("valkey://:p@h:6380/2", "redis://:p@h:6380/2"),
        ("rediss://h/0", "rediss://h/0?ssl_cert_reqs=required"),
        ("rediss://h/0?ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=none"),
        ("unix:///run/v.sock", "redis+socket:///run/v.sock"),
        (
            "redis+socket:///run/v.sock?virtual_host=1",
            "redis+socket:///run/v.sock?virtual_host=1",
        ),
    ],
)
def test_it_translates_a_broker_url(value: str, expected: str) -> None:
    assert env.parse_broker_url(value) == expected


def test_the_defaults_follow_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_LISTEN", "[::1]:8443")

    environment = env.read()

    assert environment.public_url == "http://[::1]:8443"
    assert {"localhost", "127.0.0.1", "[::1]"} <= set(environment.allowed_hosts)


def test_a_long_data_directory_gets_a_short_socket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONSOLE_DATA_DIR", str(tmp_path / ("x" * 90)))

    socket = env.read().broker_socket

    assert len(os.fsencode(socket)) <= env.MAXIMUM_SOCKET_PATH_BYTES
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    socket.parent.rmdir()


def test_it_refuses_a_socket_directory_that_others_may_enter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CONSOLE_DATA_DIR", str(tmp_path / ("x" * 90)))
    directory = env.read().broker_socket.parent
    directory.chmod(0o777)

    text = refusal()

    assert "others may enter it" in text
    directory.rmdir()


def test_the_secret_key_is_made_once_and_private(tmp_path: Path) -> None:
    first = env.read().secret_key

    again = env.read().secret_key

    assert first == again
    assert len(first) >= env.MINIMUM_SECRET_KEY_CHARACTERS
    assert stat.S_IMODE((tmp_path / "data" / "secret-key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_a_race_for_the_secret_key_has_one_winner() -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = list(pool.map(lambda _: env.read().secret_key, range(64)))

    assert len(set(keys)) == 1


def test_it_refuses_a_damaged_secret_key(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret-key").write_text("")

    assert "does not hold a secret key" in refusal()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["up", "--listen", "127.0.0.1:8123"], "127.0.0.1:8123"),
        (["up", "--listen=[::1]:8123"], "[::1]:8123"),
        (["up", "--verbosity", "2", "--listen", "8123"], "127.0.0.1:8123"),
        (["up"], "127.0.0.1:8001"),
        (["up", "--listen"], "127.0.0.1:8001"),
        (["up", "--listen", "nowhere"], "127.0.0.1:8001"),
        (["demo", "--listen", "127.0.0.1:8123"], "127.0.0.1:8001"),
    ],
)
def test_the_option_goes_before_the_variable(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.setenv("CONSOLE_LISTEN", "8001")

    env.take_listen(["manage.py", *arguments])

    environment = env.read()
    assert str(environment.listen) == expected
    assert environment.public_url == f"http://{expected}"


def test_the_option_goes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Through monkeypatch first, so that it is removed after the test.
    monkeypatch.setenv("CONSOLE_LISTEN", "")
    monkeypatch.setenv("CONSOLE_LISTEN_FILE", str(tmp_path / "listen"))

    env.take_listen(["manage.py", "up", "--listen", "console.example.com:8123"])

    assert "console.example.com" in env.read().allowed_hosts


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["manage.py", "doctor", "--json"], True),
        (["manage.py", "up", "--help"], True),
        (["manage.py"], True),
        (["manage.py", "demo"], True),
        (["manage.py", "up"], False),
        (["pytest"], False),
        (["gunicorn", "console.wsgi"], False),
        ([], False),
    ],
)
def test_it_knows_who_only_looks(arguments: list[str], *, expected: bool) -> None:
    assert env.only_looks(arguments) is expected


def test_looking_makes_no_key(tmp_path: Path) -> None:
    environment = env.read(is_looking=True)

    assert len(environment.secret_key) >= env.MINIMUM_SECRET_KEY_CHARACTERS
    assert not (tmp_path / "data").exists()
    assert env.read().secret_key == env.read(is_looking=True).secret_key


def test_manage_prints_a_mistake_without_a_traceback(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=env.REPOSITORY,
        env={**processes.clean_environment(tmp_path), "CONSOLE_LISTN": "x"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert "did you mean CONSOLE_LISTEN?" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_documentation_lists_every_variable() -> None:
    text = (env.REPOSITORY / "docs" / "configuration.md").read_text()

    for variable in env.VARIABLES:
        assert f"## `{variable.name}`" in text
        assert len(variable.help) > 40
