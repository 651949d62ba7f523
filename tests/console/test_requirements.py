"""The pinned files fit every Python that is promised, not only the one that made them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from console import env

#: The oldest that is promised, Debian 12's, and newer ones.
PYTHONS = ("3.11.0", "3.11.2", "3.11.9", "3.12.0", "3.13.0")
FILES = {"run.txt": (), "dev.txt": ("dev",)}


def declared(extras: tuple[str, ...]) -> list[Requirement]:
    project = tomllib.loads((env.REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def pinned(file: str) -> dict[str, Requirement]:
    text = (env.REPOSITORY / "requirements" / file).read_text().replace("\\\n", " ")
    found: dict[str, Requirement] = {}
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            requirement = Requirement(re.split(r"\s--hash=", line)[0].strip())
            found[canonicalize_name(requirement.name)] = requirement
    return found


def needed(start: list[Requirement], python: str) -> Iterator[str]:
    """Yield what these need on a Python, and what those need in turn."""
    environment = {
        "python_full_version": python,
        "python_version": ".".join(python.split(".")[:2]),
    }
    seen: set[tuple[str, str]] = set()
    queue = [(requirement, "") for requirement in start]
    while queue:
        requirement, extra = queue.pop()
        marker = requirement.marker
        if marker and not marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        yield name
        for wanted in ("", *requirement.extras):
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                lines = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue  # not for this Python: what it needs in turn is unknown
            queue += [(Requirement(line), wanted) for line in lines]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", FILES)
def test_each_python_finds_all_that_it_needs(file: str, python: str) -> None:
    pins = pinned(file)
    environment = {"python_full_version": python}

    names = set(needed(declared(FILES[file]), python))

    missing = [
        name
        for name in names
        if name not in pins
        or ((marker := pins[name].marker) and not marker.evaluate(environment))
    ]
    assert missing == []


@pytest.mark.parametrize("file", FILES)
def test_every_pin_has_a_hash(file: str) -> None:
    text = (env.REPOSITORY / "requirements" / file).read_text()

    pins = re.findall(r"^\S+==\S+(?: ;[^\\\n]*)?(.*)$", text, re.MULTILINE)

    assert len(pins) == len(pinned(file))
    assert all(rest.strip() == "\\" for rest in pins)


def test_the_package_has_every_module() -> None:
    project = tomllib.loads((env.REPOSITORY / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
    ours = [pattern.removesuffix("*") for pattern in patterns]

    homes = {
        path.parent for name in ours for path in (env.REPOSITORY / name).rglob("*.py")
    }

    # setuptools takes a directory only when it and all above it are packages.
    assert set(ours) == {"console", "storepoints", "alerts", "notifications"}
    assert [home for home in homes if not (home / "__init__.py").exists()] == []
