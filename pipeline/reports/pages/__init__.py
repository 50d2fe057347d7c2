"""The morning as pages: one for the account and one for each workflow, plain files without scripts or network.

The marts decide what a number means. A page shows it with its window, denominator and interval.
"""

PAGES_PATH, INBOX_PATH = "/reports", "/inbox"
"""Where `driptune up` serves the pages and the inbox, on the host of the Dagster UI."""
CHARTS_FOLDER = "charts"
"""The folder of the charts that Dagster shows, below that of the pages."""
