"""What is read from Mailchimp every night, one function per step; each writes its tables of the lake."""

from pipeline.mailchimp.pulls.activity import pull_activity
from pipeline.mailchimp.pulls.audiences import pull_account_and_audiences
from pipeline.mailchimp.pulls.automations import pull_automations
from pipeline.mailchimp.pulls.campaigns import pull_campaigns, pull_reports
from pipeline.mailchimp.pulls.journeys import pull_journeys
from pipeline.mailchimp.pulls.keeping import read_or_keep
from pipeline.mailchimp.pulls.members import pull_members
from pipeline.mailchimp.pulls.orders import pull_orders

__all__ = [
    "pull_account_and_audiences",
    "pull_activity",
    "pull_automations",
    "pull_campaigns",
    "pull_journeys",
    "pull_members",
    "pull_orders",
    "pull_reports",
    "read_or_keep",
]
