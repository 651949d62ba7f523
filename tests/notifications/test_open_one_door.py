"""The one door for outgoing HTTP: what it lets out, to where, and how much comes back."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from console.kit import clock
from notifications.transports import http
from notifications.transports.addresses import why_refused
from notifications.transports.http import NoAnswer, request
from tests.notifications.webserver import DROP, HANG, Reply, WebServer


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("93.184.216.34", ""),
        ("2606:2800:220:1:248:1893:25c8:1946", ""),
        ("127.0.0.1", "this machine"),
        ("127.8.9.10", "this machine"),
        ("::1", "this machine"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("fd12:3456::1", "private"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("::ffff:93.184.216.34", ""),
        ("64:ff9b::7f00:1", "127.0.0.1"),
        ("64:ff9b::a00:1", "10.0.0.1"),
        ("2002:7f00:1::", "127.0.0.1"),
        ("::127.0.0.1", "127.0.0.1"),
        ("169.254.169.254", "metadata"),
        ("::ffff:169.254.169.254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%2", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "no address"),
        ("::", "no address"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "reserved"),
        ("192.0.0.8", "reserved"),
        ("192.88.99.1", "reserved"),
        ("192.0.0.192", "metadata"),
        ("168.63.129.16", "metadata"),
        ("fd20:ce::254", "metadata"),
        ("64:ff9b::5db8:d822", ""),
        ("64:ff9b:1::7f00:1", "reserved"),
        ("::ffff:0:7f00:1", "reserved"),
        ("fec0::1", "reserved"),
        ("4000::1", "reserved"),
        ("3fff::1", "reserved"),
        ("hooks.example.org", "no IP address"),
    ],
)
def test_it_judges_addresses(address: str, why: str) -> None:
    found = why_refused(address, allows_private=False)

    assert (why in found) if why else found == ""


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("10.0.0.1", True),
        ("192.168.1.1", True),
        ("fd12:3456::1", True),
        ("::ffff:10.1.2.3", True),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("::ffff:169.254.169.254", False),
        ("169.254.1.1", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
    ],
)
def test_it_opens_private_networks_and_nothing_else(
    address: str, *, is_open: bool
) -> None:
    assert (why_refused(address, allows_private=True) == "") is is_open


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_it_refuses_private_addresses_and_names_that_lead_there(
    web: WebServer, host: str
) -> None:
    with pytest.raises(NoAnswer) as caught:
        request("POST", f"http://{host}:{web.port}/hook", body=b"{}")

    assert caught.value.is_refused
    assert "is not connected to" in caught.value.words
    assert not web.requests


def answers(*addresses: str) -> list[Any]:
    """What a resolver returns."""
    return [
        (
            socket.AF_INET6 if ":" in address else socket.AF_INET,
            socket.SOCK_STREAM,
            6,
            "",
            (address, 0),
        )
        for address in addresses
    ]


def test_it_refuses_a_name_of_which_one_address_is_private(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "notifications.transports.http.socket.getaddrinfo",
        lambda *_, **__: answers("93.184.216.34", "10.0.0.7"),
    )

    with pytest.raises(NoAnswer, match=r"10\.0\.0\.7\) is private"):
        request("GET", "http://both.example.org/")


def test_it_connects_to_the_address_that_was_judged(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "moving.example.org":
            return real(host, *arguments, **options)
        asked.append(host)
        # A second look-up would lead elsewhere.
        return answers("127.0.0.1" if len(asked) == 1 else "10.255.255.1")

    monkeypatch.setattr("socket.getaddrinfo", resolve)

    answer = request(
        "POST",
        f"http://moving.example.org:{web.port}/hook?a=b",
        body=b"{}",
        allows_private=True,
    )

    assert answer.status == 200
    assert asked == ["moving.example.org"]
    assert web.requests[0].headers["Host"] == f"moving.example.org:{web.port}"
    assert web.requests[0].path == "/hook?a=b"


def test_it_judges_where_a_redirect_leads(web: WebServer) -> None:
    web.on_request = lambda _: Reply(
        307, {"Location": "http://169.254.169.254/latest/meta-data/"}
    )

    with pytest.raises(NoAnswer, match="metadata service") as caught:
        request("POST", f"http://{web.address}/hook", body=b"{}", allows_private=True)

    assert caught.value.is_refused


def test_it_follows_a_redirect_that_keeps_the_method(web: WebServer) -> None:
    web.on_request = lambda asked: (
        Reply(308, {"Location": "/there"}) if asked.path == "/here" else 200
    )

    answer = request(
        "POST", f"http://{web.address}/here", body=b"{}", allows_private=True
    )

    assert answer.status == 200
    assert [each.path for each in web.requests] == ["/here", "/there"]
    assert web.requests[1].body == b"{}"


def test_it_follows_no_redirect_that_would_lose_the_message(web: WebServer) -> None:
    web.on_request = lambda _: Reply(302, {"Location": "/elsewhere"})

    with pytest.raises(NoAnswer, match="cannot follow"):
        request("POST", f"http://{web.address}/", body=b"{}", allows_private=True)

    assert len(web.requests) == 1


def test_it_follows_no_endless_redirects(web: WebServer) -> None:
    web.on_request = lambda _: Reply(302, {"Location": "/again"})

    with pytest.raises(NoAnswer, match="again and again"):
        request("GET", f"http://{web.address}/", allows_private=True)

    assert len(web.requests) == http.HOPS + 1


def test_it_takes_no_password_along_to_another_place(web: WebServer) -> None:
    other = WebServer()
    other.start()
    web.on_request = lambda _: Reply(307, {"Location": f"http://{other.address}/"})

    request("GET", f"http://ana:secret@{web.address}/", allows_private=True)

    other.stop()
    assert web.requests[0].headers["Authorization"].startswith("Basic ")
    assert "Authorization" not in other.requests[0].headers


def test_it_signs_in_with_any_password(web: WebServer) -> None:
    request("GET", f"http://ana:100%E2%82%AC@{web.address}/", allows_private=True)

    sent = web.requests[0].headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "ana:100€"


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "gopher://127.0.0.1/", "//[nonsense", "http:///"]
)
def test_it_follows_no_redirect_to_what_is_no_address(web: WebServer, to: str) -> None:
    web.on_request = lambda _: Reply(307, {"Location": to})

    with pytest.raises(NoAnswer):
        request("GET", f"http://{web.address}/", allows_private=True)


def test_it_reads_no_more_of_an_answer_than_it_needs(web: WebServer) -> None:
    web.on_request = lambda _: Reply(200, body=b"x" * 65536, is_endless=True)
    start = time.monotonic()

    answer = request("GET", f"http://{web.address}/", allows_private=True)

    assert answer.status == 200
    assert len(answer.text) <= http.ANSWER_LENGTH
    assert time.monotonic() - start < 5


def test_it_refuses_headers_without_end(web: WebServer) -> None:
    web.on_request = lambda _: Reply(
        200, {f"X-{number}": "y" * 60000 for number in range(200)}
    )

    with pytest.raises(NoAnswer, match="broke"):
        request("GET", f"http://{web.address}/", allows_private=True)


def test_it_unpacks_nothing(web: WebServer) -> None:
    web.on_request = lambda _: Reply(
        200, {"Content-Encoding": "gzip"}, body=b"\x1f\x8b\x08bomb"
    )

    answer = request("GET", f"http://{web.address}/", allows_private=True)

    assert answer.status == 200
    assert web.requests[0].headers["Accept-Encoding"] == "identity"


def test_it_waits_no_longer_than_its_deadline(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DEADLINE_SECONDS", 1)
    web.on_request = lambda _: HANG
    start = time.monotonic()

    with pytest.raises(NoAnswer, match="within 1 s") as caught:
        request("POST", f"http://{web.address}/", body=b"{}", allows_private=True)

    assert time.monotonic() - start < 2
    # It has arrived, and may have been taken.
    assert not caught.value.is_certain


def test_it_waits_no_longer_for_an_answer_that_trickles_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "DEADLINE_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def trickle() -> None:
            line, _ = listening.accept()
            with line:
                try:
                    line.sendall(b"HTTP/1.1 200 OK\r\n")
                    for number in range(200):
                        line.sendall(f"X-{number}: y\r\n".encode())
                        time.sleep(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        start = time.monotonic()
        port = listening.getsockname()[1]

        with pytest.raises(NoAnswer, match="within 1 s"):
            request("GET", f"http://127.0.0.1:{port}/", allows_private=True)

        assert time.monotonic() - start < 3
        thread.join(5)


def test_it_waits_no_longer_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any, **__: Any) -> list[Any]:
        time.sleep(3)
        return []

    monkeypatch.setattr(http, "DEADLINE_SECONDS", 1)
    monkeypatch.setattr(
        "notifications.transports.http.socket.getaddrinfo",
        slow,
    )
    start = time.monotonic()

    with pytest.raises(NoAnswer, match="within 1 s"):
        request("GET", "http://slow.example.org/")

    assert time.monotonic() - start < 2


def test_it_says_what_is_wrong_without_the_secret_of_the_address(
    web: WebServer,
) -> None:
    web.on_request = lambda _: DROP
    secret = "T0P5ECRET"
    failures = []
    for address in (
        f"http://{web.address}/{secret}?key={secret}",
        f"http://127.0.0.1:1/{secret}",
        f"http://no-such-host.invalid/{secret}",
        f"ftp://{secret}.example.org/",
    ):
        with pytest.raises(NoAnswer) as caught:
            request("POST", address, body=b"{}", allows_private=True)
        failures.append(caught.value.words + caught.value.cure)

    assert not [words for words in failures if secret in words]
    assert "There is no address for the host name no-such-host.invalid." in failures[2]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for "localhost" that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = clock.now()
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture
def secure(certificate: tuple[Path, Path]) -> Iterator[WebServer]:
    """A server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = WebServer(tls=context)
    server.start()
    yield server
    server.stop()


def test_it_verifies_the_certificate_of_the_name(
    secure: WebServer,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"https://localhost:{secure.port}/hook"

    with pytest.raises(NoAnswer, match=r"certificate of .* is not valid"):
        request("POST", address, body=b"{}", allows_private=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    answer = request("POST", address, body=b"{}", allows_private=True)
    with pytest.raises(NoAnswer, match=r"certificate of .* is not valid"):
        request(
            "POST",
            f"https://127.0.0.1:{secure.port}/hook",
            body=b"{}",
            allows_private=True,
        )

    assert answer.status == 200
    assert len(secure.requests) == 1


def test_it_follows_no_redirect_out_of_tls(
    secure: WebServer,
    web: WebServer,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    secure.on_request = lambda _: Reply(307, {"Location": f"http://{web.address}/"})

    with pytest.raises(NoAnswer, match="not encrypted"):
        request(
            "POST",
            f"https://localhost:{secure.port}/",
            body=b"{}",
            allows_private=True,
        )

    assert not web.requests
