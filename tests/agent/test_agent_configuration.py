"""The configuration file: what is refused, in which words, and what is kept."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storepoints.agent.config import (
    ConfigurationError,
    default_path,
    load_configuration,
    readable_by_others,
    write_configuration,
)
from storepoints.agent.main import main

GOOD = {
    "server": '"a-guid"',
    "name": '"Vault"',
    "key": '"0123456789abcdef"',
    "broker_url": '"redis://localhost:6379/0"',
}


def write(path: Path, **fields: str) -> Path:
    file = path / "agent.toml"
    text = "\n".join(f"{name} = {value}" for name, value in fields.items() if value)
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_it_reads_a_good_file(tmp_path: Path) -> None:
    file = write(tmp_path, **GOOD, hook='"/bin/true"', hook_timeout_seconds="5")

    configuration = load_configuration(file, {})

    assert configuration.server == "a-guid"
    assert (configuration.hook, configuration.hook_timeout_seconds) == ("/bin/true", 5)
    assert "0123456789abcdef" not in repr(configuration)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("server", "", "server is missing"),
        ("server", '"../x"', "guid"),
        ("server", "3", "server is 3"),
        ("name", '""', "name is ''"),
        ("key", '"short"', "at least 16"),
        ("broker_url", '"amqp://x"', "redis://HOST"),
        ("broker_url", '"redis://"', "redis://HOST"),
        ("broker_url", '"redis://h:99999"', "broker_url"),
        ("broker_url", '"redis+socket://"', "no path"),
        ("broker_url", "1", "broker_url is 1"),
        ("hook", '"relative"', "absolute path"),
        ("hook", '"/etc/passwd"', "may be run"),
        ("hook", '"/nowhere"', "may be run"),
        ("hook_timeout_seconds", "0", "from 1 to 3600"),
        ("hook_timeout_seconds", "true", "from 1 to 3600"),
        ("hoook", '"x"', "hoook is not a setting"),
        ("server", '"unclosed', "expected TOML"),
    ],
)
def test_it_says_what_is_wrong(
    tmp_path: Path, field: str, value: str, words: str
) -> None:
    file = write(tmp_path, **{**GOOD, field: value})

    with pytest.raises(ConfigurationError) as caught:
        load_configuration(file, {})

    assert words in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)


def test_it_never_says_the_password_of_the_broker(tmp_path: Path) -> None:
    file = write(tmp_path, **{**GOOD, "broker_url": '"http://u:secret@host/"'})

    with pytest.raises(ConfigurationError) as caught:
        load_configuration(file, {})

    assert "secret" not in str(caught.value)


def test_it_says_that_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        load_configuration(tmp_path / "none", {})


def test_it_takes_the_broker_from_the_environment(tmp_path: Path) -> None:
    file = write(tmp_path, **{**GOOD, "broker_url": ""})
    secret = tmp_path / "url"
    secret.write_text("rediss://h/1\n")

    named = load_configuration(file, {"CONSOLE_BROKER_URL": "redis+socket:///run/v"})
    from_file = load_configuration(file, {"CONSOLE_BROKER_URL_FILE": str(secret)})

    assert named.broker_url == "redis+socket:///run/v"
    assert from_file.broker_url == "rediss://h/1"


def test_it_knows_where_the_file_is() -> None:
    assert default_path({}) == Path("var/agent.toml")
    assert default_path({"CONSOLE_DATA_DIR": "/d"}) == Path("/d/agent.toml")
    assert default_path({"CONSOLE_AGENT_FILE": "/f"}) == Path("/f")


def test_it_writes_a_file_for_its_owner_only_and_keeps_the_hook(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, **GOOD, hook='"/bin/true"', hook_timeout_seconds="7")
    file.chmod(0o644)
    assert readable_by_others(file)

    write_configuration(
        file, server="new", name='N "q"', key="k" * 20, broker_url="redis://h/0"
    )

    configuration = load_configuration(file, {})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (configuration.server, configuration.name) == ("new", 'N "q"')
    assert (configuration.hook, configuration.hook_timeout_seconds) == ("/bin/true", 7)
    assert [path.name for path in tmp_path.iterdir()] == ["agent.toml"]


def test_it_does_not_write_over_what_it_does_not_understand(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("hook = [")

    with pytest.raises(ConfigurationError):
        write_configuration(
            file, server="s", name="n", key="k" * 20, broker_url="redis://h/0"
        )

    assert file.read_text() == "hook = ["


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=16),
)
def test_it_reads_back_any_name_and_key(name: str, key: str) -> None:
    if not key.strip():
        key += "a key"
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "agent.toml"

        write_configuration(
            file, server="s", name=name, key=key, broker_url="redis://h/0"
        )

        configuration = load_configuration(file, {})
    assert (configuration.name, configuration.key) == (name, key)


def test_it_ends_with_2_and_one_line_when_the_file_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, **{**GOOD, "key": '"short"'})

    assert main(["--config", str(file)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_it_checks_a_file_without_starting(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CONSOLE_BROKER_URL", raising=False)
    file = write(tmp_path, **GOOD)

    assert main(["--config", str(file), "--check-config"]) == 0
    assert "Vault can be used" in capsys.readouterr().out


def test_it_needs_no_django_and_no_models() -> None:
    program = (
        "import sys, storepoints.agent.main, storepoints.agent.prober, "
        "storepoints.agent.prober_client, storepoints.agent.reporter, "
        "storepoints.agent.orders, storepoints.agent.consumer\n"
        "names = {'django.db', 'django.apps', 'console', 'storepoints.models'}\n"
        "assert not names & set(sys.modules), names & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_its_prober_loads_neither_celery_nor_psutil_to_start() -> None:
    program = (
        "import sys, storepoints.agent.prober\n"
        "assert not {'celery', 'kombu', 'redis', 'psutil'} & set(sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
