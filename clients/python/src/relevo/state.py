"""A state channel as a live dictionary."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from .errors import ClientClosed, ProtocolError
from .frames import Message


@dataclasses.dataclass(frozen=True)
class Change:
    """A key that has another value now, or none."""

    key: str
    data: Any
    """The new value; None if the key is gone."""
    deleted: bool
    message: Message | None
    """What brought it; None where the key was found gone after a reconnect or a gap."""


class Changes(AsyncIterator[Change]):
    """The changes of a live dictionary from now on.

    For each key only the newest that was not taken yet is kept, so a slow reader never falls behind
    by more than the dictionary is large.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Change] = {}
        self._arrived = asyncio.Event()
        self._ended: Exception | None = None

    def __aiter__(self) -> Changes:
        return self

    async def __anext__(self) -> Change:
        while not self._waiting:
            if isinstance(self._ended, ClientClosed):
                raise StopAsyncIteration
            if self._ended is not None:
                raise self._ended
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.pop(next(iter(self._waiting)))

    def _put(self, change: Change) -> None:
        # Newest last, also where it replaces one that waits.
        self._waiting.pop(change.key, None)
        self._waiting[change.key] = change
        self._arrived.set()

    def _end(self, why: Exception) -> None:
        self._ended = why
        self._arrived.set()


class State(Mapping[str, Any]):
    """Each key of a state channel with its newest value; `Client.state` makes it and keeps it.

    While `live` is False (no connection, or its keys are being taken anew) it shows what it had.
    """

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self._messages: dict[str, Message] = {}
        # The keys that came since they began to come anew; None: they are complete.
        self._loading: dict[str, Message] | None = {}
        # Up to which offset it holds everything.
        self._as_of = 0
        self._loaded = asyncio.Event()
        self._ended: Exception | None = None
        self._readers: weakref.WeakSet[Changes] = weakref.WeakSet()

    def __getitem__(self, key: str) -> Any:
        return self._messages[key].data

    def __iter__(self) -> Iterator[str]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)

    def __repr__(self) -> str:
        return f"<State {self.channel}: {len(self)} keys{'' if self.live else ', not live'}>"

    @property
    def live(self) -> bool:
        """Whether it is complete and follows the server."""
        return self._loading is None and self._ended is None

    def message(self, key: str) -> Message:
        """The message that brought a key's value; raises `KeyError` if there is no such key."""
        return self._messages[key]

    def changes(self) -> Changes:
        """All changes from this call on; ends when the channel is unsubscribed or the client closed."""
        reader = Changes()
        if self._ended is not None:
            reader._end(self._ended)
        self._readers.add(reader)
        return reader

    def _begin(self) -> None:
        """All keys come from here on."""
        self._loading = {}

    def _apply(self, message: Message) -> None:
        if message.key is None:
            raise ProtocolError(f"channel {self.channel} is no state channel: subscribe to it instead")
        into = self._messages if self._loading is None else self._loading
        if message.deleted:
            into.pop(message.key, None)
        else:
            into[message.key] = message
        if self._loading is None:
            self._tell(message.key, message)

    def _finish(self, as_of: int) -> None:
        """All keys have come: those that did not are gone."""
        if self._loading is not None:
            old, self._messages, self._loading = self._messages, self._loading, None
            for key in old.keys() - self._messages.keys():
                self._tell(key, None)
            for key, new in self._messages.items():
                had = old.get(key)
                # After a restored backup an id may come again with something else.
                if had is None or (had.message_id, had.data) != (new.message_id, new.data):
                    self._tell(key, new)
        self._as_of = as_of
        self._loaded.set()

    def _tell(self, key: str, message: Message | None) -> None:
        gone = message is None or message.deleted
        change = Change(key, None if message is None or gone else message.data, gone, message)
        for reader in self._readers:
            reader._put(change)

    def _end(self, why: Exception) -> None:
        self._ended = why
        self._loaded.set()
        for reader in self._readers:
            reader._end(why)
