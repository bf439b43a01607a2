"""Commands that wait for their answers; those that the break of a connection left are sent again."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools

from . import frames
from .frames import Answer, Subscribed

Reply = Answer | Subscribed


@dataclasses.dataclass
class Command:
    """One that has no answer yet."""

    id: int
    kind: str
    channel: str | None
    text: str
    """The frame."""
    answer: asyncio.Future[Reply]
    own: bool = False
    """Given by the client itself, not by its user."""


class Commands:
    """In the order in which they were given."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, Command] = {}
        self._unsent: asyncio.Queue[Command] = asyncio.Queue()

    def __bool__(self) -> bool:
        """Whether the user waits for an answer."""
        return any(not command.answer.done() for command in self._waiting.values() if not command.own)

    def make(self, kind: str, channel: str | None = None, *, own: bool = False, **fields: object) -> Command:
        """Make a command with the next id; raises `ValueError` or `TypeError` for what is no JSON."""
        number = next(self._ids)
        text = frames.write(id=number, type=kind, channel=channel, **fields)
        # Raises for half a surrogate pair: better here than where it is sent.
        text.encode()
        return Command(number, kind, channel, text, asyncio.get_running_loop().create_future(), own)

    def give(self, command: Command) -> None:
        """Let it wait for the server, and for its answer."""
        self._waiting[command.id] = command
        self._unsent.put_nowait(command)

    def answered(self, number: int | None) -> Command | None:
        """Take out the one with this id."""
        return None if number is None else self._waiting.pop(number, None)

    def again(self) -> None:
        """Let all be sent anew, on a new connection: doing one twice does no harm.

        A publication has a key by which the server knows it; a subscription ended with its connection.
        """
        self._unsent = asyncio.Queue()
        for number, command in list(self._waiting.items()):
            if command.own or command.answer.done():
                del self._waiting[number]
            else:
                self._unsent.put_nowait(command)

    async def next(self) -> Command:
        """The next to be sent."""
        return await self._unsent.get()

    def fail_largest(self, why: Exception) -> None:
        """Tell the user that a command was too large for the server or a proxy, which didn't say which."""
        waiting = [c for c in self._waiting.values() if not c.own and not c.answer.done()]
        if waiting:
            max(waiting, key=lambda command: len(command.text)).answer.set_exception(why)

    def fail(self, why: Exception) -> None:
        """Tell the user, where they wait, that no answer will come to them."""
        for command in self._waiting.values():
            if not command.own and not command.answer.done():
                command.answer.set_exception(why)
