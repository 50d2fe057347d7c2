"""The morning as pages: one per workflow and one for the account, plain files that need no network and no script.

What a number means is decided in the marts; a page shows it with its window, denominator and interval.
"""

PAGES_PATH, INBOX_PATH = "/reports", "/inbox"
"""Where `driptune up` serves the pages and the inbox, on the host of the Dagster UI."""
