"""One WebSocket to the server: opened, and watched for silence."""

from __future__ import annotations

import asyncio
import ssl
import urllib.parse
from typing import Any

import websockets.asyncio.client
import websockets.exceptions
from websockets.typing import Subprotocol

from .errors import NotRelevo

PATH = "/api/v1/ws/connect"
SUBPROTOCOL = Subprotocol("relevo.v1")

# No frame of the server is larger, whatever a plugin sends: a record has at most 512 KiB by default.
_LARGEST_FRAME = 16 << 20
# How long the server may take to answer a goodbye, in seconds.
_GOODBYE = 2.0


class Unreachable(Exception):
    """The server can't be reached now; says why. Trying again may help."""


class Link(websockets.asyncio.client.ClientConnection):
    """A connection that knows when it last heard of the server, pings included."""

    heard_at = 0.0
    """By the event loop's clock."""

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self.heard_at = self.loop.time()
        super().data_received(data)


def full_url(url: str) -> str:
    """The address of the native protocol, where only the server is given; raises `ValueError`."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"{url!r} is no address like ws://127.0.0.1:8002 or wss://relevo.example.org")
    return url if parts.path not in ("", "/") else parts._replace(path=PATH).geturl()


async def open_link(url: str, within: float, tls: ssl.SSLContext | None) -> Link:
    """Open a WebSocket; raises `Unreachable`, or `NotRelevo` if trying again won't help."""
    trusted: dict[str, Any] = {} if tls is None else {"ssl": tls}
    try:
        link = await websockets.asyncio.client.connect(
            url,
            create_connection=Link,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            open_timeout=within,
            close_timeout=_GOODBYE,
            # The server pings, and its silence is watched by the client: see `heard_at`.
            ping_interval=None,
            max_size=_LARGEST_FRAME,
            **trusted,
        )
    except websockets.exceptions.InvalidStatus as refusal:
        status = refusal.response.status_code
        body = bytes(refusal.response.body or b"").decode(errors="replace")[:500]
        why = f"{url} answers with HTTP {status}: {body}"
        if status >= 500 or status == 429:
            raise Unreachable(why) from refusal
        raise NotRelevo(why) from refusal
    except websockets.exceptions.InvalidURI as wrong:
        raise ValueError(str(wrong)) from wrong
    except (websockets.exceptions.InvalidMessage, websockets.exceptions.ProxyError) as broken:
        raise Unreachable(f"{url}: {broken}") from broken
    except websockets.exceptions.InvalidHandshake as wrong:
        raise NotRelevo(f"{url} doesn't speak WebSocket: {wrong}") from wrong
    except (OSError, EOFError, TimeoutError, asyncio.TimeoutError) as broken:
        raise Unreachable(f"{url}: {broken or type(broken).__name__}") from broken
    assert isinstance(link, Link)
    return link
