"""The sensors. They watch for failed runs, dead runs, new publications and approvals."""

import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

from pipeline.operations.after_publication import digest_lines, follow_publication
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.record import IN_EFFECT, digest
from pipeline.orchestration.dead_runs import end_dead_nightlies
from pipeline.orchestration.jobs import apply_changes
from pipeline.orchestration.telling import mail, send
from pipeline.published.manifest import Manifest
from pipeline.published.reader import read_publication
from pipeline.reports.mail import digest_mail
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings

SECONDS_BETWEEN_LOOKS = 60
# A tick may be recorded as failed long after its time. Older failures are no news.
TICKS_TOLD_FOR = timedelta(days=1)


def failure_alert(settings: Settings) -> dg.SensorDefinition:
    """Log every failed run and tell the configured webhook. Only names and ids are told."""

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


def tick_alert(settings: Settings) -> dg.SensorDefinition:
    """Tell the log and the webhook of every tick that failed: it starts no run, so no run fails.

    Of a sensor that fails again and again only the first failure is told.
    """

    @dg.sensor(
        name="alert_on_failed_tick",
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the log and the webhook in DRIPTUNE_ALERT_WEBHOOK that a schedule or sensor failed.",
    )
    def alert_on_failed_tick(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        told = set(json.loads(context.cursor or "[]"))
        failed = list(_failed_ticks(context.instance, datetime.now(UTC)))
        news = [(state, tick) for state, tick in failed if tick.tick_id not in told]
        for state, tick in news:
            alert = _tick_alert(state, tick)
            context.log.error(alert["text"])
            if settings.alert_webhook is not None:
                send(settings.alert_webhook.get_secret_value(), alert, context.log)
        context.update_cursor(json.dumps(sorted(tick.tick_id for _, tick in failed)))
        return dg.SkipReason(f"{len(news)} failed ticks were told.")

    return alert_on_failed_tick


def _failed_ticks(instance: dg.DagsterInstance, now: datetime) -> Iterator[tuple[InstigatorState, InstigatorTick]]:
    since = (now - TICKS_TOLD_FOR).timestamp()
    for state in instance.all_instigator_state():
        origin, selector = state.instigator_origin_id, state.selector_id
        for tick in instance.get_ticks(origin, selector, after=since, statuses=[TickStatus.FAILURE]):
            if state.instigator_type is InstigatorType.SCHEDULE or tick.consecutive_failure_count == 1:
                yield state, tick


def _tick_alert(state: InstigatorState, tick: InstigatorTick) -> dict[str, str]:
    error = tick.error.cause or tick.error if tick.error else None
    why = f" ({error.cls_name})" if error else ""
    moment = datetime.fromtimestamp(tick.timestamp, UTC)
    kind = state.instigator_type.value.lower()
    return {"text": f"driptune: the {kind} '{state.instigator_name}' failed at {moment:%Y-%m-%d %H:%M} UTC{why}"}


def propose(settings: Settings) -> dg.SensorDefinition:
    """Turn each new publication into pending records. No run is started, because a run takes seconds."""

    @dg.sensor(
        name="propose",
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Records what a new publication suggests. People decide in the inbox or with `driptune`.",
    )
    def propose_changes(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        manifest = Manifest.read(settings.published_dir)
        # The day is part of the cursor, so that undecided records lapse although nothing new is published.
        # The run is, because the version changes when the proposals themselves are published.
        cursor = f"{manifest.run_id if manifest else 'nothing'} {datetime.now(UTC).date()}"
        if cursor == context.cursor:
            return dg.SkipReason("Nothing new is published.")
        with open_ledger(settings) as ledger:
            followed = follow_publication(settings, ledger, now=datetime.now(UTC))
            lines = digest_lines(settings, ledger)
        for failure in followed.failures:
            context.log.error("An analysis made no proposals, because it could not be read: %s", failure)
        is_new = manifest is not None and not (context.cursor or "").startswith(manifest.run_id)
        if is_new:
            _tell_morning(settings, lines, context.log)
        context.update_cursor(cursor)
        counts = (
            f"{len(followed.proposed)} new proposals, {len(followed.lapsed)} lapsed, {len(followed.verified)} verified"
        )
        return dg.SkipReason(f"{counts}.")

    return propose_changes


def _tell_morning(settings: Settings, lines: Sequence[str], log: logging.Logger) -> None:
    if settings.digest_webhook is not None:
        text = "\n".join(line.strip() for line in lines)
        send(settings.digest_webhook.get_secret_value(), {"text": text}, log)
    if settings.mail_host is not None:
        message = digest_mail(
            lines,
            read_publication(settings.published_dir),
            address=settings.address,
            sender=str(settings.mail_from),
            recipients=str(settings.mail_to),
            now=datetime.now(UTC),
        )
        mail(settings, message, log)


def apply_approved(settings: Settings) -> dg.SensorDefinition:
    """Start the job that applies: after an approval, a crash, or a publication that may bring newcomers."""

    @dg.sensor(
        name="apply_approved",
        job_name=apply_changes.name,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Applies what people approved. Nothing is written without an approved record.",
    )
    def apply_what_is_approved(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        manifest = Manifest.read(settings.published_dir)
        with open_ledger(settings) as ledger:
            records = ledger.records(Status.APPROVED, Status.APPLYING, Status.ROLLING_BACK, *IN_EFFECT)
        # Not the revision: it moves with every attempt, and what fails would be tried again each minute.
        due = [f"{record.optimization_id} {record.status} {record.decided_at}" for record in records if record.is_due]
        kept = [record.optimization_id for record in records if record.is_kept_in_step]
        if manifest is None or not (due or kept):
            return dg.SkipReason("Nothing that is approved waits to be applied.")
        # The hour is part of the key, so that what Mailchimp could not take is tried again.
        hour = f"{datetime.now(UTC):%Y-%m-%d %H}" if due else ""
        return dg.RunRequest(run_key=digest([due, kept, manifest.version, hour]))

    return apply_what_is_approved


def end_dead_runs(settings: Settings) -> dg.SensorDefinition:
    """Mark as failed what a power cut or a kill left 'started'. Dagster alone would notice it after hours."""

    @dg.sensor(
        name="end_dead_runs",
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends nightlies whose process is gone, so that the next nightly can start.",
    )
    def end_what_is_dead(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_dead_nightlies(context.instance, settings.working_file, datetime.now(UTC))
        return dg.SkipReason(f"{len(ended)} dead runs were ended: {', '.join(ended)}." if ended else "No run is dead.")

    return end_what_is_dead
