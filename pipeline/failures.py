"""What the command tells a person in place of a traceback; here so that saying no does not load the whole pipeline."""


class NightlyError(Exception):
    """A step of the nightly failed; the last publication is untouched."""


class LedgerError(Exception):
    """The ledger cannot do what was asked; the message says why and what to do."""
