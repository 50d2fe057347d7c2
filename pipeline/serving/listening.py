"""The address at which `driptune up` listens.

A port that is taken is told before the server is imported, which takes seconds.
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.common.errors import DriptuneError


class AddressError(DriptuneError):
    """Nothing can be served at this address."""


@contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Hold a port for as long as the block lasts. Until a server listens on it, nobody can connect.

    Raises:
        AddressError: if another program has the port, or the host is none of this machine.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressError(
                    f"Port {port} of {host} is taken by another program, perhaps by another driptune up. End that "
                    "program, or choose another port with --port."
                ) from None
            raise AddressError(
                f"driptune cannot listen on {host}, port {port}: {error.strerror}. Check --host and --port."
            ) from None
        yield held


def address_here(host: str, port: int) -> str:
    """Where a browser on this host reaches what is served; 0.0.0.0 stands for every address, and is none itself."""
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
