"""Revisions of the ledger's tables; every older ledger opens at the newest."""
