"""`driptune up`: the Dagster UI behind a guard, the pages, the inbox, and the daemon that runs schedule and sensors."""
