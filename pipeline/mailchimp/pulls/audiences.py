"""The account and its audiences."""

from datetime import date

from pipeline.common.errors import ConfigurationError
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import columns
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.pulls.narrowing import ids_of, projection, until
from pipeline.mailchimp.pulls.pulling import Pull, PullSummary
from pipeline.schemas import lake as tables
from pipeline.settings import Settings


def pull_account_and_audiences(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """The account and its audiences; one that is listed no more is noted as gone.

    Raises:
        ConfigurationError: if the lake holds another account's data.
        SourceError: nothing is written then.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    account = client.get("/", {"fields": "account_id,account_name,account_timezone"})
    known = lake.latest(tables.Account).collect()["account_id"].to_list()
    if known and account.get("account_id") not in known:
        what = "this folder holds the data of another account"
        raise ConfigurationError("DRIPTUNE_DATA_DIR", what, "Give each account a folder of its own.")
    pull.add(parse.table_rows(tables.Account, "/", columns.ACCOUNT, [account]))
    audiences = pull.listing("/lists", "lists", {"fields": projection("lists", "id,name,date_created")})
    found = parse.table_rows(tables.Audiences, "/lists", columns.AUDIENCES, audiences)
    pull.add(until(found, pull.end_us, "created_us"))
    ever = lake.latest(tables.Audiences).select("audience_id", "name").collect()
    pull.sources.compare("audience", dict(ever.iter_rows()), ids_of(audiences))
    return pull.finish()
