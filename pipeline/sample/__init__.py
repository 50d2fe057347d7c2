"""The sample account: a generated Mailchimp account with known truth, its event files, and a server that stands in.

Everything planted is described in `world`. Methods under test never import from here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from pipeline.settings import Settings


@contextmanager
def sample_account(settings: Settings, as_of: date) -> Iterator[str]:
    """Write the sample's event files and truth to `settings.sample_dir`, and serve its API until the block ends.

    Yields:
        Base URL of the stand-in server, including `/3.0`.
    """
    from pipeline.sample.account.generate import generate
    from pipeline.sample.account.stream import write_events
    from pipeline.sample.server.process import serve
    from pipeline.sample.truth import write_truth

    log = (settings.sample_dir / "writes.ndjson").resolve()
    account = generate(log=log)
    write_events(account, settings.sample_dir / "events", as_of)
    write_truth(account, settings.sample_dir / "truth.json", as_of)
    with serve(account, as_of, log=log, refusal=settings.sample_refusal) as url:
        yield url
