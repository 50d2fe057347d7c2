"""How far each window of Mailchimp has been read, and on which night each source was last read."""

import json
import logging
from typing import Any

from pipeline.common.files import read_state, write_state
from pipeline.lake.store import Lake

logger = logging.getLogger(__name__)


class WindowState:
    """State beside the lake, since both must be lost together.

    A file that cannot be read counts as none: everything is read again, and the lake drops what it has.
    """

    def __init__(self, lake: Lake) -> None:
        self._path = lake.root / "state" / "mailchimp.json"
        self._all = self._read()

    def section(self, name: str) -> dict[str, Any]:
        """The part of the state with this name; changes to it are kept by `save`."""
        found: dict[str, Any] = self._all.setdefault(name, {})
        return found

    def save(self) -> None:
        """Writes the state, whole or not at all."""
        write_state(self._path, self._all)

    def save_only(self, name: str) -> None:
        """Writes one section and leaves the others as they stand in the file, for a pull that may still fail."""
        write_state(self._path, {**self._read(), name: self.section(name)})

    def _read(self) -> dict[str, Any]:
        try:
            return read_state(self._path)
        except (json.JSONDecodeError, UnicodeDecodeError):
            logger.warning("The state of Mailchimp's windows is damaged. Everything is read again.")
            return {}
