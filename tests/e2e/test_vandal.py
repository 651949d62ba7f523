"""Bad input by hand against the running console: refused in words, and nothing breaks."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from celery import Celery

from storepoints import wire
from tests.e2e.console import ADMINISTRATOR, Answer, Console, Person, wait_until

pytestmark = pytest.mark.e2e

STORE_POINTS = "/destinations/store-points/"

#: Every list, with parameters that it takes.
LISTS = {
    STORE_POINTS: (
        "page",
        "size",
        "sort",
        "show",
        "state",
        "destination",
        "server",
        "q",
    ),
    "/destinations/servers/": ("page", "size", "sort"),
    "/destinations/": ("page", "size", "sort"),
    "/alerts/": (
        *("page", "size", "sort", "view", "severity", "kind"),
        *("server", "store_point", "destination", "hidden", "q"),
    ),
    "/settings/notifications/destinations/": ("destination",),
    "/settings/users/": ("page", "size", "sort", "who", "q"),
    "/settings/audit-log/": ("page", "size", "person", "verb", "object", "q"),
    "/settings/notifications/deliveries/": ("page", "size", "sort", "state", "alert"),
    "/search/": ("q",),
    "/destinations/store-points/export/": ("sort", "show", "server"),
    "/alerts/export/": ("view", "severity", "kind"),
    "/destinations/store-points/add/": ("server", "path"),
    "/destinations/store-points/1/history/": ("range",),
    "/destinations/store-points/1/history/export/": ("range",),
    "/destinations/store-points/1/adopt/": ("path",),
    "/destinations/1/history/": ("range",),
    "/setup/": ("token",),
    "/sign-in/": ("next",),
    "/status/": ("banners",),
}

#: What nobody means.
NONSENSE = (
    *("0", "-1", "1e3", "99999999999999999999", "٣", "1.0", "0x1", " 1 ", "None"),
    *(
        "nonsense",
        "-",
        "--name",
        "pk",
        "name__contains",
        "-password",
        "server__sealed_key",
    ),
    *(
        "'",
        '"',
        "' OR 1=1 --",
        "%",
        "_",
        "\\",
        "<script>alert(1)</script>",
        "{{ 7*7 }}",
    ),
    *("../../../etc/passwd", "/etc/passwd", "//evil.example", "http://evil.example/"),
    *(
        "\x00",
        "a\x00b",
        "\r\nX-Injected: yes",
        "\ud83d".encode("utf-8", "replace").decode(),
    ),
    *("\u202e", "💥" * 50, "é", "x" * 5_000, str(2**63), str(-(2**63) - 1)),
    *("9" * 400, "1,2,3", "[]", "{}", "true", "NaN", "inf"),
)


def several(*values: Any) -> tuple[Any, ...]:
    """Return values of any kind."""
    return values


#: The same, as bytes that are no text.
BINARY = (
    "%00",
    "%ff%fe",
    "%c0%af",
    "%ed%a0%80",
    "%",
    "%zz",
    "%80" * 50,
    "&&&===",
    "?" * 50,
)


@pytest.fixture(scope="module")
def person(console: Console) -> Person:
    person = console.set_up()
    wait_until(lambda: console.state("Default") == ("online", ""))
    return person


@pytest.fixture(autouse=True)
def _nothing_breaks(
    console: Console, person: Person, request: pytest.FixtureRequest
) -> Iterator[None]:
    """After each test: the same processes, no traceback, and the console works.

    What Celery refuses by itself it logs with a traceback; there it must go on.
    """
    before = {
        name: found.pid if (found := console.find(name)) else None
        for name in ("web", "worker", "beat", "agent", "watch", "valkey")
    }
    said = len(console.everything_said())
    yield
    # What one test has left in the queues must not fail the next.
    names = ("reports", "console", "unacked", "unacked_index")
    console.valkey().delete(*names)
    after = {
        name: found.pid if (found := console.find(name)) else None for name in before
    }
    assert after == before, console.tail()
    wait_until(lambda: console.state("Default") == ("online", ""))
    assert person.get("/").status == 200
    if "queue" in request.fixturenames:
        assert "Unrecoverable error" not in console.everything_said()[said:]
    else:
        console.assert_no_traceback(since=said)


def assert_refused(answer: Answer, *, what: str) -> None:
    """An answer below 500 that is a whole page and says nothing of the inside."""
    assert answer.status < 500, f"{what!r}: {answer}"
    for inside in ("Traceback", "django.", "sqlite3.", "OperationalError"):
        assert inside not in answer.text, f"{what!r}: {answer}"
    assert "<script>alert(1)" not in answer.text, f"{what!r}: not escaped"
    assert "X-Injected" not in answer.headers, what


def test_it_refuses_nonsense_in_query_strings(person: Person) -> None:
    wrong = []

    for path, names in LISTS.items():
        for name in names:
            for value in NONSENSE:
                query = urlencode({name: value})
                answer = person.get(f"{path}?{query}")
                if answer.status >= 500:
                    wrong.append(f"{path}?{query[:60]}")
                    continue
                assert_refused(answer, what=f"{path}?{query}")

    assert not wrong, "\n".join(wrong)


def test_it_says_what_was_expected(person: Person) -> None:
    for query, expected in {
        "page=nonsense": "whole number",
        "page=0": "page number from 1",
        "size=7": "50, 100, 250",
        "sort=server__sealed_key": "name, server, online",
        "show=nonsense": "offline, degraded",
        "server=4711": "server",
        "destination=x": "destination",
    }.items():
        answer = person.get(f"{STORE_POINTS}?{query}")
        assert answer.status == 400, query
        assert expected in answer.text, f"{query}: {answer}"


def test_it_refuses_binary_query_strings(console: Console, person: Person) -> None:
    for path in LISTS:
        for raw in BINARY:
            for query in (raw, f"q={raw}", f"page={raw}", f"{raw}=1"):
                assert_refused(person.get(f"{path}?{query}"), what=f"{path}?{query}")
    # Longer than any server takes, and with more parameters than anybody means.
    for query in ("q=" + "a" * 100_000, "&".join(f"p{n}={n}" for n in range(1200))):
        assert raw_status(console, person, "GET", f"{STORE_POINTS}?{query}") < 500


def raw_status(
    console: Console,
    person: Person,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> int:
    """Send a request as it is, which urllib would put right, and return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", console.port, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {
            "Host": f"127.0.0.1:{console.port}",
            "Cookie": person.cookies(),
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            connection.putheader(name, value)
        # Refused before it was read, the answer is there all the same.
        with contextlib.suppress(BrokenPipeError):
            connection.endheaders(body)
        try:
            return connection.getresponse().status
        except ConnectionResetError:
            return 400
    finally:
        connection.close()


def test_it_knows_nothing_of_what_is_not_there(person: Person) -> None:
    for path in (
        *("/nothing/", "/destinations/4711/", "/destinations/servers/4711/"),
        *(f"{STORE_POINTS}4711/", f"{STORE_POINTS}4711/edit/", "/alerts/4711/"),
        *("/settings/users/4711/", "/settings/users/4711/password/"),
        f"{STORE_POINTS}99999999999999999999999/",
        *("/alerts/99999999999999999999999/", "/alerts/-1/", "/alerts/1%00/"),
        *("/destinations/servers/../../etc/passwd", "/static/../console/settings.py"),
        *("/static/..%2f..%2fmanage.py", "/static/%2e%2e/%2e%2e/etc/passwd"),
        *("//evil.example/", "/%00", "/%ff", "/alerts/1/../../../../etc/passwd"),
        "/" + "a" * 3_000,
    ):
        answer = person.get(path)
        assert answer.status in {400, 404}, f"{path}: {answer}"
        assert_refused(answer, what=path)
        assert "root:" not in answer.text


def test_it_takes_only_the_methods_that_a_page_has(
    console: Console, person: Person
) -> None:
    token = {"X-CSRFToken": person.csrf()}
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "POST"):
        for path in ("/", STORE_POINTS, "/alerts/", "/search/", "/readyz", "/livez"):
            status = raw_status(console, person, method, path, headers=token)
            assert status in {400, 403, 405, 501}, f"{method} {path}: {status}"
    for path in (
        *("/alerts/actions/", f"{STORE_POINTS}actions/", "/theme/"),
        *(
            "/settings/email/save/",
            "/settings/email/test/",
            "/settings/notifications/save/",
        ),
    ):
        assert person.get(path).status == 405, path


def test_it_takes_no_form_from_elsewhere(console: Console, person: Person) -> None:
    before = changes(console)
    for path in (
        *(
            "/alerts/actions/",
            f"{STORE_POINTS}actions/",
            f"{STORE_POINTS}add/",
            "/theme/",
        ),
        *(
            "/settings/email/save/",
            "/settings/email/test/",
            "/settings/notifications/save/",
        ),
        *("/settings/users/add/", "/sign-out/", "/setup/", "/sign-in/"),
    ):
        answer = person.post(path, b"action=storepoint.remove&ids=1&confirm=1")
        assert answer.status == 403, f"{path}: {answer}"
        token = person.csrf()
        answer = person.post(path, b"", X_CSRFToken=token, Origin="http://evil.example")
        assert answer.status == 403, f"{path}: {answer}"
    assert changes(console) == before


def changes(console: Console) -> list[tuple[Any, ...]]:
    """Return what a vandal must not change."""
    return [
        *console.rows(
            "SELECT id, name, path, accepts_inbound, adopted_at FROM storepoints_storepoint"
        ),
        *console.rows(
            "SELECT id, name, destination_id, check_seconds FROM storepoints_server"
        ),
        *console.rows("SELECT id, username, role, is_active FROM accounts_user"),
        *console.rows("SELECT count(*) FROM alerts_alert"),
        *console.rows("SELECT host, port, sender FROM notifications_emailsettings"),
        *console.rows("SELECT count(*) FROM notifications_recipient"),
    ]


def test_it_refuses_wrong_actions(console: Console, person: Person) -> None:
    before = changes(console)
    for path in ("/alerts/actions/", f"{STORE_POINTS}actions/"):
        wrong: list[dict[str, object]] = [
            {},
            {"action": ""},
            {"action": "nonsense", "ids": 1},
            {"action": "__class__", "ids": 1},
            {"action": "x" * 10_000, "ids": 1},
        ]
        for name in ("storepoint.remove", "alert.acknowledge"):
            wrong += [
                {"action": name, "ids": ids, "confirm": 1}
                for ids in (
                    "",
                    "4711",
                    "x",
                    "1;2",
                    "-1",
                    "1.5",
                    "9" * 30,
                    "\x00",
                    ",,,",
                    "1,x",
                )
            ]
            wrong += [
                {
                    "action": name,
                    "all_matching": 1,
                    "query": "page=x&sort=y&q=" + "x" * 300,
                },
                {"action": name, "all_matching": 1, "query": "server=nonsense"},
                {
                    "action": name,
                    "all_matching": 1,
                    "query": "%ff%00&&=",
                    "confirm": "",
                },
                {
                    "action": name,
                    "ids": [str(n) for n in range(5000, 6200)],
                    "confirm": 1,
                },
                {"action": name, "ids": 4711, "next": "http://evil.example/"},
                {"action": name, "ids": 4711, "next": "//evil.example/"},
                {"action": name, "ids": 4711, "next": "javascript:alert(1)"},
                {"action": name, "ids": 4711, "confirm": 1, "hours": "nonsense"},
                {"action": name, "ids": 4711, "confirm": 1, "note": "\x00"},
            ]
        for fields in wrong:
            answer = person.submit(path, **fields)
            assert_refused(answer, what=str(fields)[:200])
            assert answer.url.startswith(console.url), fields
    assert changes(console) == before


def test_it_refuses_wrong_forms(console: Console, person: Person, yard: Path) -> None:
    before = changes(console)
    server = console.value("SELECT id FROM storepoints_server")
    texts = (
        *(
            "",
            " ",
            "\t",
            "x" * 101,
            "x" * 10_000,
            "a\x00b",
            "line\nbreak",
            "\x1b[31mred",
        ),
        *("\x7f", "'; DROP TABLE storepoints_storepoint; --"),
    )
    paths = (
        *(
            "",
            "relative",
            "../up",
            "~/home",
            "/",
            "//",
            "/..",
            "/tmp/../etc",
            "/etc/passwd",
        ),
        *("/proc", "/sys/kernel", "/dev/null", "/" + "x" * 5_000, "/" + "x/" * 400),
        *(
            "/nothing\x00here",
            "/with\nbreak",
            "C:\\backup",
            "file:///srv",
            "/\udcff".encode("utf-8", "replace").decode(),
        ),
    )
    for path in paths:
        answer = person.submit(
            f"{STORE_POINTS}add/", name="vandal", server=server, path=path
        )
        assert answer.status == 422, f"{path[:80]!r}: {answer}"
        assert_refused(answer, what=path[:200])
    for text in texts[:-1]:
        answer = person.submit(
            f"{STORE_POINTS}add/", name=text, server=server, path=yard
        )
        assert answer.status == 422, f"{text[:80]!r}: {answer}"
        assert_refused(answer, what=text[:200])
        forms: dict[str, dict[str, Any]] = {
            f"{STORE_POINTS}1/edit/": {
                "name": text,
                "check_seconds": 30,
                "write_seconds": 15,
                "note": "",
            },
            "/destinations/1/edit/": {"name": text, "note": ""},
            "/destinations/add/": {"name": text, "note": ""},
            "/destinations/servers/1/edit/": {
                "name": text,
                "destination": 1,
                "check_seconds": 30,
                "note": "",
            },
        }
        for form, named in forms.items():
            answer = person.submit(form, **named)
            assert answer.status == 422, f"{form} {text[:80]!r}: {answer}"
            assert_refused(answer, what=f"{form} {text[:80]!r}")
    name = console.value("SELECT name FROM storepoints_server")
    for seconds in (
        "",
        "0",
        "-5",
        "4",
        "3601",
        "1e3",
        "nonsense",
        "9" * 40,
        "5.5",
        "\x00",
    ):
        answer = person.submit(
            f"{STORE_POINTS}1/edit/", name="Default", check_seconds=seconds, note=""
        )
        assert answer.status == 422, f"{seconds}: {answer}"
        answer = person.submit(
            "/destinations/servers/1/edit/",
            name=name,
            destination=1,
            check_seconds=seconds,
            note="",
        )
        assert answer.status == 422, f"{seconds}: {answer}"
    for fields in (
        {"server": 4711, "path": yard, "name": "vandal"},
        {"server": "x", "path": yard, "name": "vandal"},
        {"server": "\x00", "path": yard, "name": "vandal"},
        {"path": yard, "name": "vandal"},
        {},
    ):
        answer = person.submit(f"{STORE_POINTS}add/", **fields)
        assert answer.status == 422, f"{fields}: {answer}"
    for fields in (
        {"host": "a b", "port": 25, "security": "none", "sender": "a@b.example"},
        {"host": "h", "port": 0, "security": "none", "sender": "a@b.example"},
        {"host": "h", "port": 99999999999, "security": "none", "sender": "a@b.example"},
        {"host": "h", "port": 25, "security": "magic", "sender": "a@b.example"},
        {
            "host": "h",
            "port": 25,
            "security": "none",
            "sender": "a\r\nBcc: x@y.example",
        },
        {"host": "h\x00", "port": 25, "security": "none", "sender": "a@b.example"},
        {"host": "x" * 10_000, "port": 25, "security": "none", "sender": "a@b.example"},
    ):
        answer = person.submit("/settings/email/save/", group_seconds=30, **fields)
        assert answer.status == 422, f"{fields}: {answer}"
    for address in (
        "",
        "x",
        "a@b",
        "a\r\nb@c.example",
        "x" * 10_000,
        "\x00@example.org",
    ):
        for form in ("/settings/notifications/recipients/", "/settings/email/test/"):
            answer = person.submit(form, address=address)
            assert answer.status == 422, f"{form} {address[:40]!r}: {answer}"
    for kinds in ([], ["nonsense"], ["store-point-offline", "\x00"]):
        answer = person.submit("/settings/notifications/save/", kinds=kinds, confirm=1)
        assert 400 <= answer.status < 500, f"{kinds}: {answer}"
    assert person.submit("/theme/", theme="nonsense").status == 400
    assert changes(console) == before


def test_it_keeps_what_is_strange_but_right(
    console: Console, person: Person, yard: Path
) -> None:
    """Names that would break a page, a mail or a terminal if they were not quoted."""
    for number, name in enumerate(
        (
            "<b>bold</b> & 'quoted' \"twice\"",
            "{{ 7*7 }}",
            "Ünïcödé 💾",
            "x" * 100,
            "a/../b",
        )
    ):
        path = yard / f"strange {number} ' \" ü;$(id)"
        path.mkdir()
        key = person.add_store_point(name, path)
        wait_until(lambda name=name: console.state(name) == ("online", ""))  # type: ignore[misc]
        page = person.get(f"{STORE_POINTS}{key}/")
        assert page.status == 200
        assert "<b>bold" not in page.text
        assert ">49<" not in page.text
        assert person.get(f"/search/?{urlencode({'q': name})}").status == 200
        rows = person.get(f"{STORE_POINTS}export/").text
        assert name.replace('"', '""') in rows
        answer = person.submit(
            f"{STORE_POINTS}actions/", action="storepoint.remove", ids=key, confirm=1
        )
        assert answer.status == 200, answer
    assert person.get("/settings/audit-log/").status == 200


def test_it_refuses_malformed_requests(console: Console, person: Person) -> None:
    token = {"X-CSRFToken": person.csrf()}
    form = "application/x-www-form-urlencoded"
    cases = {
        "not a form": ("text/plain", b"action=storepoint.remove&ids=1"),
        "json": ("application/json", b'{"action": "storepoint.remove", "ids": [1]}'),
        "multipart without a boundary": ("multipart/form-data", b"x"),
        "multipart cut off": ("multipart/form-data; boundary=x", b"--x\r\nContent-Dis"),
        "no text": (form, b"action=\xff\xfe&ids=\x00"),
        "wrong charset": (f"{form}; charset=utf-7", b"action=+AC0-"),
        "unknown charset": (f"{form}; charset=nonsense", b"action=x"),
        "many fields": (form, b"&".join(b"ids=%d" % n for n in range(20_000))),
        "large": (form, b"action=" + b"x" * 4_000_000),
    }
    for what, (content_type, body) in cases.items():
        for path in (f"{STORE_POINTS}actions/", f"{STORE_POINTS}add/", "/theme/"):
            status = raw_status(
                console,
                person,
                "POST",
                path,
                body,
                {**token, "Content-Type": content_type},
            )
            assert status < 500, f"{what} to {path}: {status}"
    for headers in (
        {"Host": "evil.example"},
        {"Host": ""},
        {"Cookie": "console_session=nonsense; console_csrf=" + "x" * 5_000},
        {"Cookie": "console_session=\xff\xfe; messages=\xff"},
        {"HX-Request": "true", "HX-Current-URL": "//evil.example"},
        {"Accept": "\xff", "Accept-Language": "x" * 5_000},
        {"X-Forwarded-For": "nonsense, <script>, ::::"},
        {"If-Modified-Since": "nonsense", "Range": "bytes=9-1"},
        {"Content-Length": "nonsense"},
    ):
        status = raw_status(console, person, "GET", STORE_POINTS, headers=headers)
        assert status < 500, f"{headers}: {status}"
        assert status in {200, 302, 400, 403}, f"{headers}: {status}"


def test_it_withstands_random_noise(console: Console, person: Person) -> None:
    seed = random.randrange(10**9)
    noise = random.Random(seed)
    alphabet = [*map(chr, range(256)), *"💥\u202e\uffff", *"&=?/#%+;[]{}<>'\""]

    for _ in range(300):
        path = noise.choice([*LISTS, "/", f"{STORE_POINTS}1/", "/alerts/1/"])
        pairs = {
            noise.choice([*LISTS[STORE_POINTS], "view", "kind", "x"]): "".join(
                noise.choices(alphabet, k=noise.randrange(40))
            )
            for _ in range(noise.randrange(4))
        }
        query = urlencode(pairs, errors="replace")
        assert_refused(
            person.get(f"{path}?{query}"), what=f"seed {seed}: {path}?{query}"
        )


def test_it_slows_down_who_guesses_passwords(console: Console) -> None:
    stranger = Person(console)

    answers = [
        stranger.submit("/sign-in/", login=ADMINISTRATOR, password=f"guess {n}")
        for n in range(12)
    ]

    assert all(answer.status in {200, 422, 429} for answer in answers)
    assert "Too many failed" in answers[-1].text, answers[-1]


# --- garbage on the queues ---------------------------------------------------------------


def is_working(console: Console, after: float) -> bool:
    at = console.value(
        "SELECT (julianday(max(checked_at)) - 2440587.5) * 86400 FROM storepoints_storepoint"
    )
    return at is not None and float(at) > after


def assert_checks_go_on(console: Console, person: Person) -> None:
    """A check that is asked for now is carried out, recorded, and nothing waits."""
    now = time.time()
    person.submit(f"{STORE_POINTS}actions/", action="storepoint.check", ids=1)
    wait_until(lambda: is_working(console, now), explain=console.tail)
    valkey = console.valkey()
    wait_until(
        lambda: all(valkey.llen(name) == 0 for name in ("reports", "console")),
        explain=lambda: [valkey.lrange(name, 0, 3) for name in ("reports", "console")],
    )


def task(name: str, *arguments: Any, **headers: Any) -> dict[str, Any]:
    """Return a task as Celery's Redis transport lays it into a queue."""
    key = str(uuid.uuid4())
    body = json.dumps([list(arguments), {}, {}]).encode()
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": name, "id": key, "root_id": key, **headers},
        "properties": {
            "correlation_id": key,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "reports"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


RAW = (
    b"",
    b"garbage",
    b"\xff\xfe\x00\x01",
    b"null",
    b"[]",
    b"42",
    b'"text"',
    b"{}",
    b'{"body": 1}',
    b'{"body": "x", "properties": {}}',
    b'{"body": "x", "properties": {"delivery_tag": "t", "delivery_info": {}}}',
    b"[" * 50_000,
)


@pytest.mark.parametrize("queue", ["reports", "console"])
def test_it_survives_what_is_no_message(
    console: Console, person: Person, queue: str
) -> None:
    before = changes(console)

    for raw in RAW:
        console.valkey().lpush(queue, raw)

    assert_checks_go_on(console, person)
    assert changes(console) == before


@pytest.mark.parametrize("queue", ["reports", "console"])
def test_it_refuses_tasks_of_the_wrong_shape(
    console: Console, person: Person, queue: str
) -> None:
    before = changes(console)
    broken = task(wire.REPORT_TASK)
    messages = [
        task("nonsense.task"),
        task("os.system", "touch /tmp/owned"),
        task(wire.REPORT_TASK),
        task(wire.REPORT_TASK, 1, 2, 3),
        *(
            task(wire.REPORT_TASK, argument)
            for argument in several(
                None,
                1,
                "x",
                [],
                {},
                {"server": 1},
                {"server": "x"},
                [[[]]],
            )
        ),
        task("storepoints.tick", "too", "many"),
        {**broken, "body": "!!! no base64"},
        {**broken, "body": base64.b64encode(b"no json").decode()},
        {**broken, "body": base64.b64encode(b"[1]").decode()},
        {**broken, "content-type": "application/x-python-serialize"},
        {**broken, "content-type": "nonsense"},
        {**broken, "content-encoding": "nonsense"},
        {**broken, "headers": None},
        {**broken, "headers": {}},
        {**broken, "headers": {"task": wire.REPORT_TASK, "id": 1, "eta": "nonsense"}},
        {**broken, "headers": {**broken["headers"], "expires": "nonsense"}},
    ]

    for message in messages:
        console.valkey().lpush(queue, json.dumps(message))

    assert_checks_go_on(console, person)
    assert changes(console) == before
    assert not Path("/tmp/owned").exists()


def send_report(console: Console, envelope: object) -> None:
    url = console.broker_url
    with Celery(broker=url, set_as_current=False) as app:
        app.send_task(
            wire.REPORT_TASK, args=[envelope], queue="reports", ignore_result=True
        )


def report(console: Console, **changed: Any) -> dict[str, Any]:
    """Return a report as the agent would send it; Ellipsis leaves a field out."""
    now = time.time()
    message: dict[str, Any] = {
        "kind": "report",
        "sequence": time.time_ns(),
        "sent_at": now,
        "agent": {"version": "0", "hostname": "h", "started_at": now, "pid": 1},
        "cause": "due",
        "findings": [],
        "volumes": None,
        "answers": [],
        **changed,
    }
    return _without_left_out(message)


def _without_left_out(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value is not ...}


def finding(console: Console, **changed: Any) -> dict[str, Any]:
    """Return a finding that Default is offline."""
    guid = console.value(
        "SELECT guid FROM storepoints_storepoint WHERE name = 'Default'"
    )
    return _without_left_out(
        {
            "id": str(uuid.UUID(guid)),
            "at": time.time(),
            "cause": "due",
            "state": "offline",
            "reason": "io-error",
            "layer": 6,
            "errno": "EIO",
            "duration_seconds": 0.1,
            "checks": [],
            **changed,
        }
    )


def test_it_refuses_forged_reports(console: Console, person: Person) -> None:
    server, key = console.agent_key()
    message = report(console, findings=[finding(console)])
    good = wire.seal(message, server=server, key=key)
    forged = {
        "another key": wire.seal(message, server=server, key="f" * 64),
        "no key": wire.seal(message, server=server, key=""),
        "an unknown server": wire.seal(message, server=str(uuid.uuid4()), key=key),
        "no server": wire.seal(message, server="nonsense", key=key),
        "a changed body": {**good, "body": good["body"].replace("io-error", "full")},
        "a cut signature": {**good, "signature": good["signature"][:-1]},
        "a strange signature": {**good, "signature": "é\x00"},
        "an order": wire.seal({**message, "kind": "probe"}, server=server, key=key),
        "no message": {**good, "body": "[]", "signature": wire.sign(key, server, "[]")},
        "no JSON": {**good, "body": "{", "signature": wire.sign(key, server, "{")},
        "another version": {
            **good,
            "body": (body := good["body"].replace('"version":1', '"version":99')),
            "signature": wire.sign(key, server, body),
        },
    }
    already = console.everything_said().count("refused a report")

    for envelope in forged.values():
        send_report(console, envelope)

    wait_until(
        lambda: (
            console.everything_said().count("refused a report") >= already + len(forged)
        ),
        explain=console.tail,
    )
    assert console.state("Default") == ("online", "")
    assert_checks_go_on(console, person)


def test_it_refuses_what_a_broken_agent_signs(console: Console, person: Person) -> None:
    """Signed with the right key, by an agent that has gone mad."""
    server, key = console.agent_key()
    bad = several(
        "x",
        None,
        [],
        {},
        True,
        -1,
        10**400,
        float("inf"),
        float("nan"),
        ...,
    )
    wrong = [
        report(console, **{name: value})
        for name in ("sequence", "sent_at", "agent", "cause", "findings", "answers")
        for value in bad
    ]
    wrong += [
        report(console, volumes=volumes)
        for volumes in several("x", 1, {}, [None], [1], [[]], [{"mount_point": []}])
    ]
    wrong += [
        report(console, volumes=[{"mount_point": "/x", field: value}])
        for field in ("total_bytes", "free_bytes", "fs_type", "is_read_only", "options")
        for value in several(
            "x", None, [], {}, -1, 10**400, "<script>alert(1)</script>"
        )
    ]
    wrong += [
        report(console, findings=[finding(console, **{name: value})])
        for name in (
            *("id", "at", "state", "reason", "layer", "errno", "cause", "space"),
            *("duration_seconds", "latency_seconds", "volume", "marker", "inbound"),
            "checks",
        )
        for value in bad
    ]
    wrong += [
        report(console, findings=[finding(console, checks=[check])])
        for check in several(
            *(
                1,
                None,
                [],
                {},
                {"name": []},
                {"name": "path", "ok": "x", "seconds": "y"},
            ),
            {
                "name": "path",
                "ok": False,
                "seconds": 10**400,
                "expected": {},
                "found": [],
            },
        )
    ]
    wrong += [
        report(console, answers=[answer])
        for answer in (
            1,
            None,
            {},
            {"order": 1, "answer": 1},
            {"order": "x", "answer": {}},
        )
    ]
    # Whatever is taken over of these is overwritten by the next honest reading; the
    # pages must be able to show each of them meanwhile.
    key_of = console.value(
        "SELECT id FROM storepoints_storepoint WHERE name = 'Default'"
    )
    pages = (
        STORE_POINTS,
        f"{STORE_POINTS}{key_of}/",
        f"{STORE_POINTS}add/",
        "/destinations/servers/1/",
        "/alerts/",
    )
    for message in wrong:
        send_report(console, wire.seal(message, server=server, key=key))
    valkey = console.valkey()
    wait_until(lambda: valkey.llen("reports") == 0, 60)
    for path in pages:
        answer = person.get(path)
        assert answer.status == 200, f"{path}: {answer}"
        assert_refused(answer, what=path)

    person.submit(f"{STORE_POINTS}actions/", action="storepoint.check", ids=key_of)
    wait_until(lambda: console.state("Default") == ("online", ""), explain=console.tail)
    assert_checks_go_on(console, person)


def test_it_refuses_another_servers_store_points(
    console: Console, person: Person
) -> None:
    server, key = console.agent_key()
    already = console.everything_said().count("not one of its store points")
    message = report(console, findings=[finding(console, id=str(uuid.uuid4()))])

    send_report(console, wire.seal(message, server=server, key=key))

    wait_until(
        lambda: (
            console.everything_said().count("not one of its store points") > already
        ),
        explain=console.tail,
    )


def test_it_takes_a_replayed_report_for_what_it_is(
    console: Console, person: Person, yard: Path
) -> None:
    path = yard / "replayed"
    path.mkdir()
    key = person.add_store_point("Replayed", path)
    wait_until(lambda: console.state("Replayed") == ("online", ""))
    person.set_server_interval(5)
    valkey = console.valkey()

    # Listen on the wire: while the worker is held, the agent's report lies in the queue.
    # But the first: the broker gives it to the worker, which had asked for one before.
    def asked_again() -> list[bytes]:
        person.submit(f"{STORE_POINTS}actions/", action="storepoint.check", ids=key)
        return list(valkey.lrange("reports", 0, -1))

    with console.stopped("worker"):
        valkey.delete("reports")
        with console.stopped("beat"):
            pushed = wait_until(asked_again, explain=console.tail, pause=1)
    recorded = [raw for raw in pushed if b"storepoints.record_report" in raw]
    assert recorded
    wait_until(lambda: valkey.llen("reports") == 0)

    # The store point fails; the old report says that it is online.
    path.rename(yard / "moved")
    person.submit(f"{STORE_POINTS}actions/", action="storepoint.check", ids=key)
    wait_until(lambda: console.state("Replayed") == ("offline", "path-missing"))
    for raw in recorded:
        valkey.lpush("reports", raw)
    wait_until(lambda: valkey.llen("reports") == 0)
    time.sleep(1)
    assert console.state("Replayed") == ("offline", "path-missing")

    # The agent is silent; the old report must not say that it speaks.
    with console.stopped("agent"):
        wait_until(
            lambda: console.value(
                "SELECT offline_since IS NOT NULL FROM storepoints_server"
            ),
            60,
        )
        for raw in recorded:
            valkey.lpush("reports", raw)
        wait_until(lambda: valkey.llen("reports") == 0)
        time.sleep(1)
        assert console.value("SELECT offline_since IS NOT NULL FROM storepoints_server")
        assert console.state("Replayed")[0] == "server-offline"
    (yard / "moved").rename(path)
    person.set_server_interval(30)
    person.submit(
        f"{STORE_POINTS}actions/", action="storepoint.remove", ids=key, confirm=1
    )
    wait_until(lambda: console.state("Default") == ("online", ""))


def test_it_quotes_what_it_redirects_to(console: Console, person: Person) -> None:
    for goal in (
        "//evil.example",
        "http://evil.example",
        "/\\evil.example",
        "\t//evil",
    ):
        answer = person.get(f"/sign-in/?next={quote(goal)}")
        assert answer.url.startswith(console.url), goal
