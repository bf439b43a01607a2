"""`connect` and the client: what a user of this package calls, and what keeps it up to date."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import ssl
import time
import types
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import websockets.exceptions

from . import frames
from .backoff import Backoff
from .codes import CloseCode, Then, close_name, then
from .commands import Command, Commands, Reply
from .errors import (
    ChannelRefused,
    ClientClosed,
    Closed,
    CommandError,
    NoConnection,
    NotTaken,
    ProtocolError,
    TokenExpired,
)
from .frames import Answer, Connected, Failure, Frame, Gap, Mark, Message, Position, Subscribed
from .inbox import Inbox, Item
from .link import Link, Unreachable, full_url, open_link
from .state import State

log = logging.getLogger("relevo")

Token = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that gets one: called before each connection, also when the last one expired."""

# The server's bound for commands without an answer; some of it is for the client's own.
_COMMANDS: Final = 100
# While a command waits, its answer may stand behind this many times what the queue holds otherwise.
_RESERVE: Final = 4
# How long that may stay full before the command is given up, in seconds.
_NOT_TAKEN_WITHIN: Final = 10.0
# How many tokens in a row may turn out to be expired.
_TOKENS: Final = 5
# What a silent connection gets beyond the server's heartbeat, in seconds (docs/protocol.md, Heartbeat).
_SILENCE: Final = 10.0
_DEFAULT_BACKOFF: Final = Backoff()


def connect(
    url: str | None = None,
    *,
    token: Token | None = None,
    channels: Iterable[str] = (),
    after: Position | str | None = None,
    backoff: Backoff = _DEFAULT_BACKOFF,
    connect_within: float | None = 30.0,
    give_up_after: float | None = None,
    answer_within: float = 10.0,
    queue_bytes: int = 4 << 20,
    tls: ssl.SSLContext | None = None,
) -> Client:
    """Make a client: `async with relevo.connect(…) as client: async for item in client: …`.

    Args:
        url: The server, like `ws://127.0.0.1:8002`; else `RELEVO_URL`.
        token: A token, or a function (`async` or not) that gets one; else `RELEVO_TOKEN`.
        channels: What to subscribe to from the start. State channels are better had by `Client.state`.
        after: Go on from there: an earlier client's `position`.
        backoff: The waits between tries to connect.
        connect_within: How long the first connection may take, in seconds; None: for ever.
        give_up_after: How long the server may be away later, in seconds; None: for ever.
        answer_within: How long the server may take to answer a connection, in seconds.
        queue_bytes: How much may wait to be taken before the client stops to read.
        tls: For `wss://`: which certificates are trusted.

    Raises:
        ValueError: The address, the position or a setting can't be what it is, or there is no token.
    """
    url = url or os.environ.get("RELEVO_URL")
    if not url:
        raise ValueError("there is no address: give a url, or set RELEVO_URL")
    token = os.environ.get("RELEVO_TOKEN") if token is None else token
    if not token:
        raise ValueError("there is no token: give one (or a function that gets one), or set RELEVO_TOKEN")
    if queue_bytes < 1:
        raise ValueError("queue_bytes must be 1 or more")
    if isinstance(channels, str):
        raise ValueError(f"channels is a list of names: [{channels!r}]")
    return Client(
        full_url(url),
        token,
        list(dict.fromkeys(channels)),
        Position.parse(after) if isinstance(after, str) else after,
        backoff=backoff,
        connect_within=connect_within,
        give_up_after=give_up_after,
        answer_within=answer_within,
        queue_bytes=queue_bytes,
        tls=tls,
    )


class _Broken(Exception):
    """A connection ended in a way that allows to come back."""

    def __init__(self, then: Then, why: str) -> None:
        super().__init__(why)
        self.then = then


class Client:
    """Follows channels over as many connections as it takes; made by `connect`.

    Iterating hands out `Message` and `Gap`: each stream message once and in order, whatever breaks.
    Of a state channel each newer value of a key comes; its keys that vanished while there was no
    connection are seen by `state` alone.

    A channel that was asked for at a connection's start and refused is raised once, as `ChannelRefused`;
    to iterate again brings what the other channels have.

    If the items are not taken, the client stops to read, and the server closes it after a while; it
    comes back when there is room, and nothing is lost. The one exception is a client that asked for no
    channel by name and was never iterated: what its own channels (`user:` and `role:`) bring beyond
    `queue_bytes` is replaced by a `Gap` with the reason `not_taken`, so that its live dictionaries go on.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        channels: list[str],
        after: Position | None,
        *,
        backoff: Backoff,
        connect_within: float | None,
        give_up_after: float | None,
        answer_within: float,
        queue_bytes: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._url = url
        self._token = token
        self._backoff = backoff
        self._connect_within = connect_within
        self._give_up_after = give_up_after
        self._answer_within = answer_within
        self._tls = tls

        # What a new connection subscribes to; a dict keeps the order.
        self._channels: dict[str, None] = dict.fromkeys(channels)
        # Somebody asked for messages: they are never dropped.
        self._wanted = bool(channels)
        self._states: dict[str, State] = {}
        # Live dictionaries that a gap has made doubtful; the first is being taken anew.
        self._doubtful: deque[State] = deque()
        # The client's number, with all that was read: what the next connection begins after.
        self._position = after
        # By stream channel: up to where it has been handed on. After a `subscribe` this is beyond the
        # client's number, and a resume would bring again what lies between.
        self._seen: dict[str, int] = {}
        # By state channel that is iterated, and key: the id of the newest message.
        self._ids: dict[str, dict[str, str]] = {}
        self._inbox = Inbox(queue_bytes, after)

        self._commands = Commands()
        self._may_command = asyncio.Semaphore(_COMMANDS)
        self._ready = asyncio.Event()
        # Subscriptions of live dictionaries on the way: a task that nobody holds may vanish.
        self._opening: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._error: Exception | None = None

        self._connections = 0

        # Of the connection that is there:
        self._connected: Connected | None = None
        # It brought something after `connected`, so the server does its work.
        self._fruitful = False
        # An error that announces a close.
        self._complaint: Failure | None = None
        # The client doesn't read: a silent server is no wonder.
        self._held = False
        self._silence = answer_within

    async def __aenter__(self) -> Client:
        if self._task is not None:
            raise RuntimeError("a client can be entered once; call connect() for another one")
        self._task = asyncio.create_task(self._run(), name="relevo")
        try:
            await self._ready.wait()
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._error is not None:
            await self.close()
            raise self._error
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Say goodbye and end; doing it twice does no harm."""
        if self._task is not None:
            self._task.cancel()
            # It ends with nothing that is not in `_error` already.
            await asyncio.wait([self._task])
        self._end(ClientClosed("the client was closed"))

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> Item:
        try:
            return await self._inbox.take()
        except ClientClosed:
            raise StopAsyncIteration from None

    @property
    def position(self) -> Position:
        """Where the client stands with all that was taken from it: save it for `connect(after=…)`.

        It covers the item that was taken last, so save it when that is done with.
        """
        if self._inbox.position is None:
            raise RuntimeError("the client has no position before it is connected")
        return self._inbox.position

    @property
    def backlog(self) -> int:
        """How many items wait to be taken."""
        return len(self._inbox)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._connected is not None

    @property
    def user(self) -> str:
        """Whom the server takes the client for; known while there is a connection."""
        return self._identity().user

    @property
    def role(self) -> str:
        """The role that the server sees; known while there is a connection."""
        return self._identity().role

    @property
    def channels(self) -> tuple[str, ...]:
        """What it is subscribed to; its own channels come without being listed."""
        return tuple(self._channels)

    def _identity(self) -> Connected:
        if self._connected is None:
            raise RuntimeError("the client is not connected")
        return self._connected

    # Commands. Each waits for a connection if there is none, and is sent again if one breaks.

    async def subscribe(self, channel: str, *, after: Position | None = None) -> Position:
        """Follow one more channel; returns from where on it is live.

        With `after`, what a stream channel had since then comes first, marked `recovered` where it is
        older than the client's position. Raises `ChannelRefused`, or another `CommandError`.
        """
        if channel in self._states:
            raise ValueError(f"{channel} is followed by state() already")
        if after is not None:
            self._seen.pop(channel, None)
        self._wanted = True
        reply = await self._ask(self._commands.make("subscribe", channel, after=frames.place(after)))
        assert isinstance(reply, Subscribed)
        return reply.position

    async def unsubscribe(self, channel: str) -> None:
        """Leave a channel, also one that `state` follows: nothing of it comes any more.

        What waits to be taken stays. Raises `CommandError`.
        """
        await self._ask(self._commands.make("unsubscribe", channel))

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        event_type: str | None = None,
        idempotency_key: str | None = None,
    ) -> int:
        """Publish to a channel, exactly once even if the connection breaks; returns the event's number.

        Of two with the same `idempotency_key` the server takes the first only; by default each call has
        a key of its own. Raises `CommandError`, or `ValueError` if `data` is no JSON or more than the
        server takes (its `session.message_bytes`).
        """
        key = idempotency_key or str(uuid.uuid4())
        command = self._commands.make(
            "publish", channel, event_type=event_type, data=data, idempotency_key=key
        )
        reply = await self._ask(command)
        assert isinstance(reply, Answer)
        return reply.offset or 0

    async def ping(self) -> float:
        """Ask for a sign of life; returns how long it took, in seconds."""
        start = time.perf_counter()
        await self._ask(self._commands.make("ping"))
        return time.perf_counter() - start

    async def state(self, channel: str) -> State:
        """A state channel as a dictionary that keeps itself up to date.

        Raises `ChannelRefused`, and `ValueError` if the channel is of another kind.

        Called again it gives the same one, also if the first call was cancelled; and a new one if the
        server refused the channel meanwhile, as it may when the user's role has changed.
        """
        state = self._states.get(channel)
        if state is None:
            if channel in self._channels:
                raise ValueError(f"{channel} is subscribed already: unsubscribe it first")
            command = self._commands.make("subscribe", channel)
            state = self._states[channel] = State(channel)
            task = asyncio.create_task(self._open(state, command))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        await state._loaded.wait()
        if state._ended is not None:
            raise state._ended
        return state

    async def _open(self, state: State, command: Command) -> None:
        try:
            await self._ask(command)
        except Exception as why:
            if self._states.get(state.channel) is state:
                del self._states[state.channel]
            state._end(why)

    async def _ask(self, command: Command) -> Reply:
        if self._task is None:
            raise RuntimeError("use the client in `async with`")
        async with self._may_command:
            if self._error is not None:
                raise self._error
            self._commands.give(command)
            # A reader who waits for room reads on, up to the answer.
            self._inbox.nudge()
            return await command.answer

    # The connections, one after the other.

    async def _run(self) -> None:
        try:
            await self._follow()
        except asyncio.CancelledError:
            raise
        except Exception as why:
            if self._ready.is_set():
                log.error("the client has ended: %s", why)
            self._end(why)

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        failures = expired = 0
        away_since = clock()
        while True:
            self._fruitful = False
            began = self._ready.is_set()
            try:
                await self._connection()
            except _Broken as broken:
                why = broken
            if self._fruitful:
                failures = expired = 0
            if self._connected is not None:
                away_since = clock()
                self._connected = None
            for state in self._states.values():
                state._begin()
            if why.then is Then.NEW_TOKEN:
                expired += 1
                self._check_renewal(expired)
            at_once = why.then is Then.NEW_TOKEN and expired == 1
            at_once = at_once or (why.then is Then.RESUME and failures == 0)
            failures += 1
            pause = 0.0 if at_once else self._backoff.wait(failures)
            within = self._give_up_after if began else self._connect_within
            if within is not None and clock() + pause - away_since > within:
                raise NoConnection(f"no connection within {within:g} s: {why}") from why
            log.info("%s; again in %d ms", why, pause * 1000)
            await asyncio.sleep(pause)
            # Who comes back before there is room is closed again.
            while self._inbox.over() and not self._unread:
                await self._inbox.moved()

    def _check_renewal(self, expired: int) -> None:
        if isinstance(self._token, str) or expired >= _TOKENS:
            message = self._complaint.message if self._complaint else ""
            raise TokenExpired(CloseCode.TOKEN_EXPIRED, message=message)

    async def _get_token(self) -> str:
        if isinstance(self._token, str):
            return self._token
        try:
            token = self._token()
            return await token if inspect.isawaitable(token) else token
        except Exception as why:
            if not self._ready.is_set():
                raise
            log.warning("the function that gets a token failed", exc_info=why)
            raise _Broken(Then.WAIT, f"no token: {why!r}") from why

    async def _connection(self) -> None:
        token = await self._get_token()
        try:
            link = await open_link(self._url, self._answer_within, self._tls)
        except Unreachable as why:
            raise _Broken(Then.WAIT, str(why)) from why
        self._complaint = None
        self._silence = self._answer_within
        self._doubtful.clear()
        helpers = [asyncio.create_task(self._watch(link))]
        try:
            hello = frames.write(
                type="connect",
                token=token,
                after=frames.place(self._position),
                channels=list(self._channels) or None,
            )
            # If it is closed already, reading says why.
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                await link.send(hello)
            while True:
                text = await link.recv()
                frame = frames.read(text)
                if frame is not None:
                    self._take(frame, len(text))
                if isinstance(frame, Connected):
                    self._commands.again()
                    helpers.append(asyncio.create_task(self._send(link, frame.message_bytes)))
                    self._ready.set()
                await self._room(link)
        except websockets.exceptions.ConnectionClosed as closed:
            raise self._closed(closed) from closed
        finally:
            for helper in helpers:
                helper.cancel()
            await link.close()

    def _closed(self, closed: websockets.exceptions.ConnectionClosed) -> Exception:
        if closed.rcvd is None:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_LARGE:
                # It would come again.
                return ProtocolError(f"a message larger than this client takes: {closed}")
            return _Broken(Then.WAIT, f"the connection was lost ({closed})")
        code, name = closed.rcvd.code, closed.rcvd.reason or close_name(closed.rcvd.code)
        what = then(code)
        if what is Then.STOP:
            return Closed(code, name, self._complaint.message if self._complaint else "")
        if what is Then.SEND_LESS:
            self._commands.fail_largest(Closed(code, name))
        return _Broken(what, f"closed: {name} ({code})")

    async def _send(self, link: Link, largest: int) -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while True:
                command = await self._commands.next()
                size = len(command.text.encode())
                if size > largest and not command.answer.done():
                    # The server would close the whole connection.
                    why = f"a command of {size} bytes; the server takes {largest}"
                    command.answer.set_exception(ValueError(why))
                if command.answer.done():
                    self._commands.answered(command.id)
                else:
                    await link.send(command.text)

    async def _watch(self, link: Link) -> None:
        """Cut a connection of which nothing is heard."""
        clock = asyncio.get_running_loop().time
        heard_at = clock()
        while True:
            heard_at = clock() if self._held else max(heard_at, link.heard_at)
            left = heard_at + self._silence - clock()
            if left <= 0:
                log.info("nothing came for %g s", self._silence)
                link.transport.abort()
                return
            await asyncio.sleep(left)

    async def _room(self, link: Link) -> None:
        """Wait until the queue has room again; while a command waits, it may grow to a farther bound."""
        if not self._inbox.over() or self._unread:
            return
        self._held = True
        try:
            while self._inbox.over():
                waiting = bool(self._commands)
                if waiting and not self._inbox.over(_RESERVE):
                    return
                if not await self._inbox.moved(_NOT_TAKEN_WITHIN if waiting else None):
                    text = f"the answer stands behind {len(self._inbox)} items that nobody takes; "
                    self._commands.fail(NotTaken(text + "give the command in a task of its own"))
        finally:
            self._held = False
            link.heard_at = asyncio.get_running_loop().time()

    # What the server says.

    def _take(self, frame: Frame, size: int) -> None:
        if isinstance(frame, Connected):
            self._welcome(frame)
            return
        if isinstance(frame, Failure):
            self._failed(frame)
            return
        if self._position is None:
            raise ProtocolError(f"{frame} came before `connected`")
        self._fruitful = True
        if isinstance(frame, Message):
            self._message(frame, size)
        elif isinstance(frame, Gap):
            self._gap(frame, size)
        elif isinstance(frame, Mark):
            self._position = frame.position
            self._inbox.mark(frame.position)
        elif isinstance(frame, Subscribed):
            self._subscribed(frame)
        else:
            self._answered(frame)

    def _welcome(self, connected: Connected) -> None:
        self._connected = connected
        self._connections += 1
        self._silence = connected.heartbeat_ms / 1000 + _SILENCE
        how = "connected" if self._position is None else "resumed"
        log.info("%s at %s as %s (%s)", how, connected.position, connected.user, connected.role)
        # With `after` the number stays where it is until a `gap` moves it.
        if self._position is None:
            self._position = connected.position
            self._inbox.mark(connected.position)

    def _message(self, message: Message, size: int) -> None:
        assert self._position is not None
        channel = message.channel
        is_stream = message.key is None and message.offset is not None
        if is_stream and not message.recovered:
            self._position = Position(self._position.epoch, message.offset or 0)
        if channel in self._states:
            self._states[channel]._apply(message)
        elif is_stream and (message.offset or 0) <= self._seen.get(channel, 0):
            self._inbox.mark(self._position)
        elif message.key is not None and not self._is_news(message, message.key):
            pass
        else:
            if is_stream:
                self._seen[channel] = message.offset or 0
            self._put(message, size)

    def _is_news(self, message: Message, key: str) -> bool:
        """Whether a state channel's message was not handed out before a reconnect."""
        ids = self._ids.setdefault(message.channel, {})
        if ids.get(key) == message.message_id:
            return False
        if message.deleted:
            ids.pop(key, None)
        else:
            ids[key] = message.message_id
        return True

    def _gap(self, gap: Gap, size: int) -> None:
        assert self._position is not None
        if gap.channel is None:
            if gap.position.epoch != self._position.epoch or gap.position.offset < self._position.offset:
                # Offsets and ids begin anew.
                self._seen.clear()
                self._ids.clear()
            self._position = gap.position
        idle = not self._doubtful
        self._doubtful.extend(
            state
            for state in self._states.values()
            if gap.channel in (None, state.channel)
            and state._loading is None
            and state._as_of < gap.position.offset
            and not any(state is other for other in self._doubtful)
        )
        if idle:
            self._take_anew()
        why = gap.reason if gap.detail is None else f"{gap.reason} ({gap.detail})"
        where = gap.channel or "all channels"
        log.warning("gap in %s: %s; what was up to %s may be missing", where, why, gap.position)
        self._put(gap, size)

    @property
    def _unread(self) -> bool:
        """Nobody asked for messages, and nobody takes any: waiting for room would be for ever."""
        return not self._wanted and not self._inbox.iterated

    def _put(self, item: Item | Exception, size: int) -> None:
        assert self._position is not None
        if self._inbox.over() and self._unread:
            self._inbox.clear()
            item = Gap("not_taken", self._position, "nobody iterates this client")
        self._inbox.put(item, size, self._position)

    def _subscribed(self, frame: Subscribed) -> None:
        channel = frame.channel
        command = self._commands.answered(frame.id)
        given_up = command is not None and command.answer.done()
        if given_up or (command is not None and command.own and channel not in self._states):
            # Nobody waits for it any more (a cancelled task): undo it.
            self._commands.give(self._commands.make("unsubscribe", channel, own=True))
            return
        state = self._states.get(channel)
        if state is not None and frame.kind not in (None, "state"):
            # A dictionary would stay empty, and its first message have no key.
            del self._states[channel]
            reason = f"{channel} is no state channel but of kind {frame.kind}: subscribe to it instead"
            state._end(ValueError(reason))
            self._commands.give(self._commands.make("unsubscribe", channel, own=True))
            if command is not None and not command.answer.done():
                command.answer.set_result(frame)
            return
        self._channels[channel] = None
        self._seen[channel] = max(self._seen.get(channel, 0), frame.position.offset)
        if state is not None:
            state._finish(frame.position.offset)
            if self._doubtful and self._doubtful[0] is state:
                self._doubtful.popleft()
                self._take_anew()
        if command is not None:
            command.answer.set_result(frame)

    def _take_anew(self) -> None:
        """Let a live dictionary get all its keys again: one at a time, as few commands may wait."""
        if self._doubtful:
            channel = self._doubtful[0].channel
            self._commands.give(self._commands.make("unsubscribe", channel, own=True))
            self._commands.give(self._commands.make("subscribe", channel, own=True))

    def _answered(self, frame: Answer) -> None:
        command = self._commands.answered(frame.id)
        if command is None:
            return
        if command.kind == "unsubscribe" and command.channel is not None:
            self._left(command.channel, command.own)
        if not command.answer.done():
            command.answer.set_result(frame)

    def _left(self, channel: str, own: bool) -> None:
        self._seen.pop(channel, None)
        self._ids.pop(channel, None)
        state = self._states.get(channel)
        if own and state is not None:
            # It comes back at once: see `_take_anew`.
            state._begin()
            return
        self._channels.pop(channel, None)
        self._forget(channel, ClientClosed(f"{channel} was unsubscribed"))

    def _forget(self, channel: str, why: Exception) -> None:
        state = self._states.pop(channel, None)
        if state is None:
            return
        state._end(why)
        if state in self._doubtful:
            first = self._doubtful[0] is state
            self._doubtful.remove(state)
            if first:
                self._take_anew()

    def _failed(self, failure: Failure) -> None:
        error = CommandError(failure.code, failure.name, failure.message)
        if failure.channel is not None:
            error = ChannelRefused(failure.code, failure.name, failure.message, failure.channel)
        command = self._commands.answered(failure.id)
        if command is None:
            if self._connected is None:
                # The close that follows says what comes of it.
                self._complaint = failure
            elif failure.channel is None:
                # Of no command and no channel: what it is about is not known.
                raise error
            else:
                self._lost(failure.channel, error)
        elif not command.own:
            if not command.answer.done():
                command.answer.set_exception(error)
        elif command.kind == "subscribe" and command.channel in self._states:
            self._lost(command.channel, error)

    def _lost(self, channel: str, why: CommandError) -> None:
        """A channel that the client followed, or should from the start, is refused: it goes on without."""
        log.error("the client goes on without a channel: %s", why)
        followed = channel in self._states
        self._channels.pop(channel, None)
        self._seen.pop(channel, None)
        self._ids.pop(channel, None)
        self._forget(channel, why)
        if not followed:
            self._put(why, 0)

    def _end(self, why: Exception) -> None:
        if self._error is None:
            self._error = why
            self._ready.set()
            self._inbox.end(why)
            self._commands.fail(why)
            for state in self._states.values():
                state._end(why)
