"""The bounded queue between the socket and the user, and the position that goes with what was taken."""

from __future__ import annotations

import asyncio
import collections
import dataclasses

from .frames import Gap, Message, Position

Item = Message | Gap
"""What a client hands to its user."""

# What a waiting item takes beside its text, roughly: many small ones shouldn't count for nothing.
_OVERHEAD = 1024


@dataclasses.dataclass
class _Waiting:
    item: Item | Exception
    size: int
    position: Position
    """Where the client stands once the item was taken."""


class Inbox:
    """Filled by the connection's task, which asks `over` and waits for `moved` before it reads on."""

    def __init__(self, limit: int, position: Position | None) -> None:
        self.limit = limit
        """In bytes."""
        self.position = position
        """Where the client stands with what was taken; None before the first connection."""
        self.iterated = False
        """Somebody has begun to take."""
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._size = 0
        self._arrived = asyncio.Event()
        self._moved = asyncio.Event()
        self._ended: Exception | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def over(self, times: int = 1) -> bool:
        """Whether more waits than that many times the limit."""
        return self._size > self.limit * times

    def put(self, item: Item | Exception, size: int, position: Position) -> None:
        """Add an item, or what is raised in the place of one; the caller keeps to the bound."""
        size += _OVERHEAD
        self._waiting.append(_Waiting(item, size, position))
        self._size += size
        self._arrived.set()

    def mark(self, position: Position) -> None:
        """Move the position without an item: at once, or with the last that waits."""
        if self._waiting:
            self._waiting[-1].position = position
        else:
            self.position = position

    def clear(self) -> None:
        """Drop all that waits."""
        self._waiting.clear()
        self._size = 0

    async def take(self) -> Item:
        """Take the next item, waiting for it; what ended the inbox is raised when it is empty."""
        self.iterated = True
        while not self._waiting:
            if self._ended is not None:
                raise self._ended
            self._arrived.clear()
            await self._arrived.wait()
        first = self._waiting.popleft()
        self._size -= first.size
        self.position = first.position
        self._moved.set()
        if isinstance(first.item, Exception):
            raise first.item
        return first.item

    def nudge(self) -> None:
        """Let who waits in `moved` look again."""
        self._moved.set()

    async def moved(self, within: float | None = None) -> bool:
        """Wait until something is taken or somebody nudges; False if nothing was in this many seconds."""
        self._moved.clear()
        try:
            await asyncio.wait_for(self._moved.wait(), within)
        except asyncio.TimeoutError:
            return False
        return True

    def end(self, why: Exception) -> None:
        """Nothing more comes."""
        self._ended = why
        self._arrived.set()
