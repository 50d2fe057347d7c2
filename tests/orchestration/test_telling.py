"""The morning is mailed through a real server on loopback, and a server that fails costs one line of the log."""

import logging
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import ValidationError

from pipeline.orchestration.telling import mail
from pipeline.settings import Settings

LOG = logging.getLogger("telling")
PASSWORD = "a secret of the mail server"


class Box:
    """Keeps what a server received; refuses nobody@example.com."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    async def handle_RCPT(  # noqa: N802 - the server's name for it
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if address == "nobody@example.com":
            return "550 unknown"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.received.append(envelope)
        return "250 OK"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def mail_server(**options: Any) -> Iterator[tuple[int, Box]]:
    box = Box()
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port, box
    finally:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that it signed itself, and its key, in one file."""
    folder = tmp_path_factory.mktemp("certificate")
    key, held = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", held],
        check=True, capture_output=True,
    )  # fmt: skip
    held.write_text(held.read_text() + key.read_text())
    return held


def context_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    def make(port: int, **changes: Any) -> Settings:
        given = {"mail_from": "tune@example.com", "mail_to": "mara@example.com, noor@example.com", **changes}
        return Settings(data_dir=tmp_path, mail_host="127.0.0.1", mail_port=port, _env_file=None, **given)

    return make


def message(settings: Settings) -> EmailMessage:
    made = EmailMessage()
    made["Subject"], made["From"], made["To"] = "The morning", settings.mail_from, settings.mail_to
    made.set_content("Nothing is out of line – at all.")
    return made


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == LOG.name]


def test_everybody_gets_the_mail(settings_for: Callable[..., Settings], caplog: pytest.LogCaptureFixture) -> None:
    with mail_server() as (port, box):
        settings = settings_for(port, mail_security="none")
        mail(settings, message(settings), LOG)
    [envelope] = box.received
    assert envelope.rcpt_tos == ["mara@example.com", "noor@example.com"]
    assert errors(caplog) == []


def test_the_server_is_known_by_its_certificate_and_gets_the_password_only_then(
    settings_for: Callable[..., Settings],
    certificate: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[bytes] = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        heard.append(given.password)
        return AuthResult(success=given.password == PASSWORD.encode(), handled=False)

    options = {"authenticator": check, "auth_required": True, "require_starttls": True}
    with mail_server(tls_context=context_of(certificate), **options) as (port, box):
        settings = settings_for(port, mail_user="driptune", mail_password=PASSWORD)
        mail(settings, message(settings), LOG)
        assert (heard, box.received) == ([], [])
        assert errors(caplog) == [
            "The mail server did not take the digest (SSLCertVerificationError). Check DRIPTUNE_MAIL_*."
        ]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        mail(settings, message(settings), LOG)
        assert (len(heard), len(box.received)) == (1, 1)
        wrong = settings_for(port, mail_user="driptune", mail_password="wrong")
        mail(wrong, message(wrong), LOG)
    assert len(box.received) == 1
    assert "SMTPAuthenticationError" in errors(caplog)[-1]
    assert not [line for line in errors(caplog) if PASSWORD in line or "@" in line]


def test_a_server_without_encryption_gets_nothing_unless_the_settings_allow_it(
    settings_for: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server() as (port, box):
        settings = settings_for(port)
        mail(settings, message(settings), LOG)
    assert box.received == []
    assert len(errors(caplog)) == 1


def test_a_recipient_who_is_refused_costs_the_others_nothing(
    settings_for: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with mail_server() as (port, box):
        settings = settings_for(port, mail_security="none", mail_to="nobody@example.com, mara@example.com")
        mail(settings, message(settings), LOG)
    assert box.received[0].rcpt_tos == ["mara@example.com"]
    assert errors(caplog) == ["The mail server refused 1 of the recipients in DRIPTUNE_MAIL_TO."]


def test_no_server_costs_one_line(settings_for: Callable[..., Settings], caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_for(free_port())
    mail(settings, message(settings), LOG)
    assert errors(caplog) == [
        "The mail server did not take the digest (ConnectionRefusedError). Check DRIPTUNE_MAIL_*."
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mail_to": None}, "Set DRIPTUNE_MAIL_FROM and DRIPTUNE_MAIL_TO"),
        ({"mail_to": "mara"}, "is no address"),
        ({"mail_from": "a@example.com\nBcc: b@example.com"}, "is no address"),
        ({"mail_security": "none", "mail_password": PASSWORD}, "in the clear"),
        ({"address": "tune.example.com"}, "address"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    settings_for: Callable[..., Settings], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words) as refused:
        settings_for(25, **changes)
    assert PASSWORD not in str(refused.value)
