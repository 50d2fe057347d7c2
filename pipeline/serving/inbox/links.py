"""Links that let a person into the inbox once. Whoever may write the data folder may hand them out at any time."""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.common.files import read_state, write_state
from pipeline.optimizations.approval_policy import ApprovalPolicy

LINK_SECONDS = 15 * 60
READER = ""
"""Who may look and not decide. No approver has an empty name."""


class Links:
    """The links that nobody has used. Each is a private file, named by the hash of its token, which is not kept."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def clear(self) -> None:
        """Make every link void that was handed out so far."""
        for file in self._folder.glob("*.json"):
            file.unlink(missing_ok=True)

    def issue(self, actor: str) -> str:
        """A token that lets `actor` in once, within a quarter of an hour."""
        token = secrets.token_urlsafe(32)
        write_state(self._file(token), {"actor": actor, "ends": self._clock() + LINK_SECONDS})
        return token

    def redeem(self, token: str) -> str | None:
        """Whom a token lets in; none if it has been used or is too old."""
        file = self._file(token)
        held = read_state(file)
        try:
            # Of two who bring the same token, one removes the file and is let in.
            file.unlink()
        except FileNotFoundError:
            return None
        return str(held["actor"]) if self._clock() <= held["ends"] else None

    def _file(self, token: str) -> Path:
        return self._folder / f"{hashlib.sha256(token.encode()).hexdigest()}.json"


def login_lines(
    links: Links, policy: ApprovalPolicy, names: Sequence[str], inbox: str, approvals_file: Path
) -> Iterator[str]:
    """A link for each of the names, in words for a terminal, the link last.

    Args:
        links: hands them out.
        policy: says who may approve; who may not, gets a link for looking.
        names: who is to get in.
        inbox: the address of the inbox.
        approvals_file: where approvers are named.
    """
    for name in names:
        if policy.approver(name):
            yield f"Inbox for {name}, once: {inbox}/login?token={links.issue(name)}"
            continue
        approvers = ", ".join(one.name for one in policy.approvers) or "nobody yet"
        yield f"May approve: {approvers}. To become an approver, add this to {approvals_file}, then run driptune login:"
        yield f"approvers:\n  - id: {name}"
        yield f"Inbox for looking, once: {inbox}/login?token={links.issue(READER)}"
