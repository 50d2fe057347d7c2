"""Where `make peers` installs what the product does not need."""

import sys
from pathlib import Path

PEERS = Path(sys.prefix) / "peers"
