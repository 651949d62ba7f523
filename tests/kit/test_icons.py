"""The icons that templates and code name."""

from __future__ import annotations

import re
from pathlib import Path

import lucide
import pytest

ROOT = Path(__file__).parents[2]
IN_TEMPLATES = re.compile(
    r"""\{% (?:lucide|icon) "([\w-]+)"|(?<![\w-])icon="([\w-]+)\""""
)
IN_CODE = re.compile(r"""(?<![\w-])icon="([\w-]+)\"""")


def _named() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "templates").rglob("*.html"):
        for pair in IN_TEMPLATES.findall(path.read_text()):
            found.update(filter(None, pair))
    for folder in ("console", "storepoints", "alerts", "notifications"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update(IN_CODE.findall(path.read_text()))
    return found


@pytest.mark.parametrize("name", sorted(_named()))
def test_it_knows_the_icon(name: str) -> None:
    assert lucide._render_icon(name, 16).startswith("<svg")
