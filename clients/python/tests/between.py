"""A proxy between a client and the real server, for what the server itself does rarely or never."""

import asyncio
import contextlib
import json
import types
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol
from world import World

from relevo.link import PATH, SUBPROTOCOL


class Between:
    """Hands on each frame as it is; the newest connection may be closed with any code, or told something."""

    def __init__(self, world: World) -> None:
        assert world.server is not None
        self._server_url = world.server.url + PATH
        self._listening: Server | None = None
        self._client: ServerConnection | None = None
        self.url = ""

    async def __aenter__(self) -> "Between":
        protocols: list[Subprotocol] = [SUBPROTOCOL]
        self._listening = await serve(
            self._connection, "127.0.0.1", 0, subprotocols=protocols, compression=None, ping_interval=None
        )
        port = next(iter(self._listening.sockets)).getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        assert self._listening is not None
        self._listening.close()
        await self._listening.wait_closed()

    async def _connection(self, client: ServerConnection) -> None:
        async with connect(
            self._server_url, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None
        ) as server:
            self._client = client
            back = asyncio.create_task(self._hand_on(server, client))
            await self._hand_on(client, server)
            back.cancel()

    async def _hand_on(
        self, source: ClientConnection | ServerConnection, to: ClientConnection | ServerConnection
    ) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for frame in source:
                await to.send(frame)

    async def say(self, **fields: Any) -> None:
        """Send the client a frame."""
        assert self._client is not None
        await self._client.send(json.dumps(fields))

    def close(self, code: int | None) -> None:
        """Close with this code, allowed or not; None: with a close frame that has none."""
        assert self._client is not None
        # Past the library, which knows which codes are allowed.
        payload = b"" if code is None else code.to_bytes(2, "big")
        self._client.transport.write(bytes([0x88, len(payload)]) + payload)

    def cut(self) -> None:
        """End the connection without a close frame."""
        assert self._client is not None
        self._client.transport.abort()
