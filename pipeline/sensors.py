"""What watches runs: an alert when one fails."""

import logging
from collections.abc import Mapping

import dagster as dg
import requests

from pipeline.settings import Settings

ALERT_TIMEOUT_SECONDS = 10


def failure_alert(settings: Settings) -> dg.SensorDefinition:
    """Log every failed run and tell the configured webhook, with names and ids only."""

    @dg.run_failure_sensor(
        name="alert_on_failure",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the log and the webhook in DRIPTUNE_ALERT_WEBHOOK that a run failed.",
    )
    def alert_on_failure(context: dg.RunFailureSensorContext) -> None:
        failed = [event.step_key for event in context.get_step_failure_events() if event.step_key]
        alert = {
            "text": f"driptune: run of '{context.dagster_run.job_name}' failed in {', '.join(failed) or 'start-up'}",
            "run_id": context.dagster_run.run_id,
            "failed_steps": failed,
        }
        context.log.error(alert["text"])
        if settings.alert_webhook is not None:
            send(settings.alert_webhook.get_secret_value(), alert, context.log)

    return alert_on_failure


def send(url: str, alert: Mapping[str, object], log: logging.Logger) -> None:
    """Post the alert; a webhook that does not answer is logged without its address, which may hold a secret."""
    try:
        requests.post(url, json=alert, timeout=ALERT_TIMEOUT_SECONDS, allow_redirects=False).raise_for_status()
    except requests.RequestException as error:
        log.error("The alert webhook did not take the message (%s).", type(error).__name__)
