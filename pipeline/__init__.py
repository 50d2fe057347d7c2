"""driptune: nightly optimization of email automations."""
