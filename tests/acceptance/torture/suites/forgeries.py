"""R9: foreign pages in a real browser, requests made of what could be stolen, and edits of the ledger's file."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from pipeline.config.approvals import APPROVALS_FILE
from pipeline.optimizations.review import Seen
from pipeline.serving.inbox.sessions import Sessions
from pipeline.settings import Settings
from tests.acceptance.torture import Row, ledger_edits
from tests.acceptance.torture.foreign_pages import DECISIONS, FRAME, LAUNCHES, filled
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.launches import FOREIGN, launch, own_ways, texts
from tests.acceptance.torture.signed_in import Target, Victim, signed_in
from tests.acceptance.torture.stolen import ABSENTEE, Attack, requests
from tests.acceptance.torture.victims import account
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve

APPROVERS = {"mara": "medium", "noor": "high", "lia": "high", "ida": "high"}
# Other ports of one host are the same site: its cookies come with requests from there.
SITES = ("127.0.0.1", "localhost", "evil.example")
FRAMED = ("/", "/reports/", "the record")


@dataclass(frozen=True)
class Tried:
    """An attack on a record that its approver looked at, and then their own click.

    Attributes:
        name: of the attack.
        is_forged: whether a decision, a session, a run or a framed page came of it.
        is_taken: whether the approver's own click was taken afterwards; if not, the attack proves nothing.
    """

    name: str
    is_forged: bool
    is_taken: bool


def measure(quick: bool) -> Iterator[Row]:
    """The real `driptune up`, somebody signed in, and everybody who would decide in their place."""
    if missing := _missing():
        yield Row("R9", "forged decisions", f"not tried: {missing}", "0", False)
        return
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        place = Installation(Path(name) / "account", url)
        _allow_approvers(place.settings)
        _must(place.nightly(NIGHT))
        sites = SITES[:1] if quick else SITES
        with signed_in(place) as victim:
            kinds = {
                f"pages of {len(sites)} other sites in Chromium": list(_pages(sites)),
                "requests with stolen, made-up, old or others' credentials": list(requests(20 if quick else 200)),
                "launches through Dagster by pages, or by text in its launchpad": [*_launches(sites), *texts()],
            }
            taken = tried = 0
            for kind, attacks in kinds.items():
                done = [_try(victim, *attack) for attack in attacks]
                forged = [one.name for one in done if one.is_forged]
                yield Row("R9", f"{len(done)} {kind}: forged", "; ".join([str(len(forged)), *forged]), "0", not forged)
                tried, taken = tried + len(done), taken + sum(one.is_taken for one in done)
            own = own_ways(victim)
        yield Row("R9", "the same by right: the approver's own clicks; a launch and a websocket of Dagster's own page",
                  f"{taken} of {tried}; {own} of 2", "all", (taken, own) == (tried, 2))  # fmt: skip
        # Twice: a night publishes what was decided before it, and what it suggests itself the next one publishes.
        for _ in range(2):
            _must(place.nightly(NIGHT + timedelta(days=1)))
        edits, unseen = ledger_edits.unseen(place.settings, rows=1 if quick else 8)
        found = "; ".join([f"{edits - len(unseen)} of {edits}", *unseen])
        yield Row("R9", "edits of rows of the published ledger found by verify", found, "all", not unseen)


def _missing() -> str:
    """What this suite needs and this machine lacks, and how to get it."""
    if find_spec("playwright") is None:
        return "playwright is not installed (make installs it; or pip install playwright)"
    if shutil.which("chromium") is None:
        return "there is no chromium on the path (apt-get install chromium)"
    return ""


def _allow_approvers(settings: Settings) -> None:
    settings.definitions.mkdir(parents=True, exist_ok=True)
    lines = [f"  - {{id: {name}, highest_risk: {risk}}}" for name, risk in APPROVERS.items()]
    (settings.definitions / APPROVALS_FILE).write_text("\n".join(["approvers:", *lines, ""]))


def _try(victim: Victim, name: str, attack: Attack) -> Tried:
    target = victim.looks()
    before = victim.marks()
    has_got_in = attack(victim, target)
    is_forged = has_got_in or victim.marks() != before
    if victim.has_lost(target) and not is_forged:
        return _try(victim, name, attack)
    return Tried(name, is_forged, victim.decides(target))


def _pages(sites: tuple[str, ...]) -> Iterator[tuple[str, Attack]]:
    for site in sites:
        for name, page in DECISIONS.items():
            yield f"{name} from {site}", _showing(site, page)
        for path in FRAMED:
            yield f"frame of {path} in {site}", _framing(site, path)


def _launches(sites: tuple[str, ...]) -> Iterator[tuple[str, Attack]]:
    for site in sites:
        for name, page in LAUNCHES.items():
            yield f"{name} from {site}", _showing(site, page)


def _showing(site: str, page: str) -> Attack:
    def attack(victim: Victim, target: Target) -> bool:
        shown = filled(
            page,
            base=victim.base,
            url=victim.base + target.path,
            token=target.token,
            guess=Sessions().form_token(victim.cookie, Seen.of(victim.ledger.record(target.record_id))),
            link=victim.links[ABSENTEE],
            launch=launch(FOREIGN),
        )
        visit = victim.visits(site, shown)
        if not visit.sent:
            raise RuntimeError(f"This page sent nothing: {shown}")
        return visit.heard > 0

    return attack


def _framing(site: str, path: str) -> Attack:
    """Put the server's page into a frame over everything, and have the victim click where its button is."""

    def attack(victim: Victim, target: Target) -> bool:
        framed = victim.base + (target.path if path == "the record" else path)
        visit = victim.visits(site, filled(FRAME, framed=framed), click=target.button)
        return any(frame.startswith(victim.base) for frame in visit.frames)

    return attack


def _must(told: tuple[int, str]) -> None:
    if told[0]:
        raise RuntimeError(told[1])
