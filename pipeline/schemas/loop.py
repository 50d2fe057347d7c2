"""The ledger as published: the records of proposed changes, every event of the ledger, and what changes brought."""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import SUBSCRIBER, Table, Timestamp, table
from pipeline.schemas.columns import column, count, key, method_name, share, utc_day, word

RECORD = "Record of the ledger. The same change proposed again on the same basis is the same record."
WORKFLOW_OF_CHANGE = "Workflow that is changed. Null if several are."
STEP_OF_CHANGE = "Step that is changed. Null if several are."
INTERVAL = "95%"
MEAN = "share or currency units"
RELEASED = "Flow into which people are let."
ALL_NIGHTS = "holds on all nights at once"
TOTAL = "events or currency units"
PROMISED = "Relative change that the proposal promised. Null if it promised none, or the row is a guardrail's."


@table("marts.optimizations", ("optimization_id",))
class Optimizations(Table):
    """One row per record: a proposed change, the evidence for it, and what has become of it."""

    optimization_id: pl.String = key(RECORD)
    revision: pl.Int64 = count("Ledger events of this record so far.")
    kind: pl.String = word("What is to be changed.", vocabulary.ProposalKind)
    target: pl.String = column("Where it is changed, such as workflow/step.")
    title: pl.String = column("The change in one line.")
    workflow_id: pl.String = key(WORKFLOW_OF_CHANGE, nullable=True)
    step_id: pl.String = key(STEP_OF_CHANGE, nullable=True)
    before: pl.String = column("What stood before the change.", "JSON object")
    after: pl.String = column("The change itself.", "JSON object")
    apply_kind: pl.String = word("How the change reaches Mailchimp.", vocabulary.ApplyKind)
    status: pl.String = word("Where the record stands.", vocabulary.RecordStatus)
    evidence: pl.String = column("Numbers, effect with interval, method, identification, guardrails.", "JSON object")
    evidence_hash: pl.String = column("SHA-256 of the evidence. An approval holds for this evidence only.")
    expected_lift: pl.Float64 = column(
        "Relative change that is promised. Null if none is.", "ratio", nullable=True, interval=INTERVAL
    )
    expected_gain: pl.Float64 = column(
        "Further conversions in four weeks. Null if unknown.", "conversions", nullable=True
    )
    risk: pl.String = word("How much harm a wrong change could do.", vocabulary.Risk)
    holdout_share: pl.Float64 = share("Share of subscribers kept out of the change, to compare with.", nullable=False)
    standing_holdout_share: pl.Float64 = share(
        "Share of them kept out now: smaller once the effect is known.", nullable=False
    )
    created_at: Timestamp = column("When the change was first proposed.", "UTC")
    expires_at: Timestamp = column("When the proposal lapses unless somebody decides.", "UTC")
    approvals: pl.Int64 = count("Approvers who approved.")
    approvals_required: pl.Int64 = count("Approvers who must approve.")
    decided_by: pl.String = column("Who approved, rejected or withdrew it last. Null before.", nullable=True)
    decided_at: Timestamp = column("When that was. Null before.", "UTC", nullable=True)
    reason: pl.String = column("Reason that was given last. Null if none was.", nullable=True)
    applied_day: pl.Date = utc_day("First day on which the change is in effect. Null before.", nullable=True)


@table("marts.optimization_events", ("sequence",))
class OptimizationEvents(Table):
    """One row per event of the ledger. Hashes chain the events, so that a changed or removed one is found."""

    sequence: pl.Int64 = count("Number of the event in the ledger.")
    optimization_id: pl.String = key(f"{RECORD} 'exports' for an export of addresses, which belongs to no record.")
    revision: pl.Int64 = count("Number of the event within its record.")
    event_type: pl.String = word("What happened.", vocabulary.LedgerEventType)
    actor: pl.String = column("Who did it: an approver, 'driptune', or a rule of approvals.yaml.")
    occurred_at: Timestamp = column("When it happened.", "UTC")
    reason: pl.String = column("Reason that was given. Null if none was.", nullable=True)
    previous_hash: pl.String = column("Hash of the event before it in the ledger, of any record.")
    hash: pl.String = column("SHA-256 over this event and `previous_hash`.")


@table("marts.deliveries", ("optimization_id", "day", "value", "outcome"))
class Deliveries(Table):
    """One row per record, day, value and outcome: to how many members a value was written, and what came of it."""

    optimization_id: pl.String = key(RECORD)
    proposed_kind: pl.String = word("What the record changes.", vocabulary.ProposalKind)
    target: pl.String = column("Where it is changed, such as a decision point or a test.")
    means: pl.String = key("Merge field, or 'tag ' and the prefix of tags.")
    day: pl.Date = utc_day("Day on which the account was read back.")
    value: pl.String = column("The value; empty where a field was emptied.")
    outcome: pl.String = column("'written', 'held already', or why not.")
    subscribers: pl.Int64 = count("Members with this value and outcome.")


@table("marts.realised_lift", ("optimization_id", "as_of_day", "metric"))
class RealisedLift(Table):
    """One row per applied change, night and metric: subscribers with the change against those kept out of it."""

    optimization_id: pl.String = key(RECORD)
    as_of_day: pl.Date = utc_day("Night on which the change is looked at.")
    metric: pl.String = word("Outcome that is compared.", vocabulary.MetricName | vocabulary.GuardrailName)
    role: pl.String = word("The metric that was promised, or a guardrail.", vocabulary.RealisedRole)
    is_latest: pl.Boolean = column("The row is tonight's.")
    proposed_kind: pl.String = word("What was changed.", vocabulary.ProposalKind)
    workflow_id: pl.String = key(WORKFLOW_OF_CHANGE, nullable=True)
    step_id: pl.String = key(STEP_OF_CHANGE, nullable=True)
    first_day: pl.Date = utc_day("First whole day of the change.")
    last_day: pl.Date = utc_day("Last day of the change. Null while it is in effect.", nullable=True)
    exposures: pl.Int64 = count("Subscribers with the change whose first message since then has closed its window.")
    held_out_exposures: pl.Int64 = count("Subscribers kept out whose first message has closed its window.")
    applied_mean: pl.Float64 = column(
        "Outcome per exposure with the change. Null without exposures.", MEAN, nullable=True, interval=INTERVAL
    )
    held_out_mean: pl.Float64 = column(
        "Outcome per exposure of those kept out. Null without exposures.", MEAN, nullable=True, interval=INTERVAL
    )
    promised_lift: pl.Float64 = column(PROMISED, "ratio", nullable=True, interval=INTERVAL)
    realised_lift: pl.Float64 = column(
        "applied_mean / held_out_mean - 1, by week. Null while unknown.", "ratio", nullable=True, interval=ALL_NIGHTS
    )
    phase: pl.String = word("Judged by the plan, after its answer, or without a plan.", vocabulary.MeasurementPhase)
    planned_exposures: pl.Int64 = count("Subscribers at whom the plan ends. Null without a plan.", nullable=True)
    expected_answer_day: pl.Date = utc_day(
        "Night on which the plan's answer is expected; once it has come, the night on which it came. Null without one.",
        nullable=True,
    )
    answered_day: pl.Date = utc_day(
        "Night of the answer: the plan had its subscribers, or its time was over. Null before, and without a plan.",
        nullable=True,
    )
    answered_lift: pl.Float64 = column(
        "`realised_lift` on the night of the answer. Null before it.", "ratio", nullable=True, interval=ALL_NIGHTS
    )
    incremental_total: pl.Float64 = column(
        "Outcomes that the change added. Null while unknown.", TOTAL, nullable=True, interval=ALL_NIGHTS
    )
    is_significant: pl.Boolean = column("A difference was shown on this night or on an earlier one.")
    outcome: pl.String = word("What became of the promise.", vocabulary.RealisedOutcome)
    status: pl.String = column("'ok', or what is missing.")
    method: pl.String = method_name()


@table("marts.outcome_baselines", ("workflow_id", "step_ids", "window_days", "metric"))
class OutcomeBaselines(Table, is_stamped=True):
    """One row per metric and place where a change could be measured: from these the size of its hold-out is planned."""

    workflow_id: pl.String = key("Workflow. Null for all of them together.", nullable=True)
    step_ids: pl.String = column("Steps whose messages count; empty for all.", "JSON array")
    window_days: pl.Int64 = count("Days after the first message in which an outcome counts.")
    metric: pl.String = word("Outcome.", vocabulary.MetricName)
    people_28d: pl.Int64 = count("People with a message in the last 28 days whose windows have closed.")
    people_56d: pl.Int64 = count("People with a message in the last 56 days whose windows have closed.")
    outcome_mean: pl.Float64 = column(
        "Outcomes or amount per person, within the window after the first message. Null without people.",
        MEAN,
        nullable=True,
    )
    outcome_deviation: pl.Float64 = column(
        "Standard deviation of the amount. Null for rates, and with fewer than two people.",
        "currency units",
        nullable=True,
    )


@table("marts.learnings", ("source", "source_id"))
class Learnings(Table, is_stamped=True):
    """One row per finished test, and per applied change whose effect is known: what it taught, and where to try it."""

    source: pl.String = word("What taught it: a test, or a change that was applied.", vocabulary.LearningSource)
    source_id: pl.String = key("The test, as experiments.yaml names it, or the record of the ledger.")
    question: pl.String = column("Hypothesis of the test, or the change in one line.")
    workflow_id: pl.String = key("Workflow in which it held. Null if there are several.", nullable=True)
    step_id: pl.String = key("Step at which it held. Null if there are several.", nullable=True)
    metric: pl.String = column("Outcome that was compared.")
    lift: pl.Float64 = column(
        "Relative change that was measured. Null while unknown.", "ratio", nullable=True, interval=ALL_NIGHTS
    )
    outcome: pl.String = word("What came out.", vocabulary.Verdict | vocabulary.RealisedOutcome)
    day: pl.Date = utc_day("Day of the verdict, or first whole day of the change.")
    could_try: pl.String = column(
        "Up to five steps of other active flows that are alike, as workflow/step. Null if none is.", nullable=True
    )
    alike: pl.Int64 = count("Number of such steps. Null if none is.", nullable=True)
    suggestion: pl.String = column(
        "What to plan there: a test, never a promise. Null if no step is alike.", nullable=True
    )


@table("marts.release_starts", ("workflow_id",))
class ReleaseStarts(Table, is_stamped=True):
    """One row per flow that says `released_by: driptune`: how people are let in, and how many wait tonight."""

    workflow_id: pl.String = key(RELEASED)
    step_id: pl.String = key("E-mail before which people wait: the first one of the flow.")
    start: pl.String = column("What lets a person in: a trigger, an event or a tag.", "JSON object")
    hourly_cap: pl.Int64 = count("Most people let in within an hour.")
    most: pl.Int64 = count("Most people let in by one approval.")
    wait_field: pl.String = column(
        "Merge field that holds the hours each person waits. Null if everybody waits the planned time.", nullable=True
    )
    planned: pl.Int64 = count("People whose moment is planned.")
    late: pl.Int64 = count("People whose moment passed too long ago. They take another approval.")
    held_back: pl.Int64 = count("People held back tonight by a conflict, the frequency cap or holdouts.yaml.")


@table("marts.release_plan", ("workflow_id", "subscriber_key"))
class ReleasePlan(Table, is_stamped=True):
    """One row per person who waits for a flow that driptune releases: the moment that was decided, and the old one."""

    workflow_id: pl.String = key(RELEASED)
    step_id: pl.String = key("E-mail before which the person waits.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    release_at: Timestamp = column("Moment that was decided; null for those held back.", "UTC", nullable=True)
    release_until: Timestamp = column("From then on it is too late for it.", "UTC", nullable=True)
    planned_at: Timestamp = column("Moment after the planned wait alone. It holds for those held out.", "UTC")
    planned_until: Timestamp = column("From then on it is too late for it.", "UTC", nullable=True)
    status: pl.String = word("Whether the person is let in at that moment, or why not.", vocabulary.ReleaseStatus)


@table("marts.releases", ("optimization_id", "hour", "outcome"))
class Releases(Table):
    """One row per record, hour and outcome: how many people were let in or wait, by the journal of what was done."""

    optimization_id: pl.String = key(RECORD)
    workflow_id: pl.String = key(RELEASED)
    hour: Timestamp = column("Hour of the call; of the planned moment for those who wait or are late.", "UTC")
    outcome: pl.String = word("What became of them.", vocabulary.ReleaseOutcome)
    subscribers: pl.Int64 = count("People with this outcome.")
