"""What is told to people outside: by a webhook, or by mail. A failure costs one line of the log, and nothing else."""

import logging
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage

import requests

from pipeline.settings import Settings

TIMEOUT_SECONDS = 10


def send(url: str, message: Mapping[str, object], log: logging.Logger) -> None:
    """Post a message. A failure is logged without the webhook's address, which may hold a secret."""
    try:
        requests.post(url, json=message, timeout=TIMEOUT_SECONDS, allow_redirects=False).raise_for_status()
    except requests.RequestException as error:
        log.error("The webhook did not take the message (%s).", type(error).__name__)


def mail(settings: Settings, message: EmailMessage, log: logging.Logger) -> None:
    """Hand a message to the mail server of the settings. A failure is logged without addresses and passwords."""
    try:
        with _connected(settings) as server:
            if settings.mail_user is not None and settings.mail_password is not None:
                server.login(settings.mail_user, settings.mail_password.get_secret_value())
            refused = server.send_message(message)
    except (smtplib.SMTPException, OSError) as error:
        log.error("The mail server did not take the digest (%s). Check DRIPTUNE_MAIL_*.", type(error).__name__)
    else:
        if refused:
            log.error("The mail server refused %s of the recipients in DRIPTUNE_MAIL_TO.", len(refused))


def _connected(settings: Settings) -> smtplib.SMTP:
    """A connection that is encrypted, and whose server has shown its certificate, unless the settings say otherwise."""
    host, port, context = str(settings.mail_host), settings.mail_port, ssl.create_default_context()
    if settings.mail_security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
    if settings.mail_security == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server
