"""All campaigns, and Mailchimp's own totals of each."""

from datetime import date
from typing import Any

from pipeline.common.errors import NotFoundError
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import columns
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.pulls.narrowing import ids_of, not_yet_sent, projection, until
from pipeline.mailchimp.pulls.one_by_one.planned import journey_campaigns
from pipeline.mailchimp.pulls.pulling import Pull, PullSummary
from pipeline.schemas import lake as tables
from pipeline.settings import Settings

CAMPAIGN_FIELDS = (
    "id,web_id,type,status,create_time,send_time,emails_sent,recipients.list_id,settings.title,"
    "settings.subject_line,settings.preview_text"
)
REPORT_FIELDS = (
    "id,send_time,emails_sent,bounces,unsubscribed,abuse_reports,opens.opens_total,opens.unique_opens,opens.last_open,"
    "clicks,ecommerce,industry_stats"
)


def pull_campaigns(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """All campaigns. Never filtered by the API: there an unknown `type` or `status` is a silent empty answer.

    Raises:
        SourceError: nothing is written then.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    items = pull.listing("/campaigns", "campaigns", {"fields": projection("campaigns", CAMPAIGN_FIELDS)})
    rows = parse.table_rows(tables.Campaigns, "/campaigns", columns.CAMPAIGNS, items)
    pull.add(not_yet_sent(until(rows, pull.end_us, "created_us"), pull.end_us))
    return pull.finish()


def pull_reports(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Mailchimp's own totals by campaign; e-mails of automations and journeys missing in the list are asked for.

    A deleted campaign leaves no trace but that its report is gone, which is noted.

    Raises:
        SourceError: nothing is written then.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    items = pull.listing("/reports", "reports", {"fields": projection("reports", REPORT_FIELDS)})
    pull.add(until(parse.table_rows(tables.Reports, "/reports", columns.REPORTS, items), pull.end_us, "sent_us"))

    def report(campaign_id: str) -> list[dict[str, Any]]:
        try:
            return [client.get("/reports/{campaign_id}", {"fields": REPORT_FIELDS}, campaign_id=campaign_id)]
        except NotFoundError:  # it was never sent, or it was deleted
            return []

    missing = sorted(journey_campaigns(lake, settings) - ids_of(items))
    single = [item for found in client.map(report, missing) for item in found]
    rows = parse.table_rows(tables.Reports, "/reports/{campaign_id}", columns.REPORTS, single)
    pull.add(until(rows, pull.end_us, "sent_us"))
    pull.sources.compare("campaign", _titles(lake), ids_of(items) | ids_of(single))
    return pull.finish()


def _titles(lake: Lake) -> dict[str, str]:
    """Title by id of every campaign that ever had a report."""
    titles = dict(lake.latest(tables.Campaigns).select("campaign_id", "title").collect().iter_rows())
    reported = lake.latest(tables.Reports).select("campaign_id").collect()["campaign_id"]
    return {campaign_id: titles.get(campaign_id, "") for campaign_id in reported}
