"""What goes over the socket: the server's frames as typed values, and the client's as text."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

from .errors import ProtocolError


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a client stands in all its channels. As text: `EPOCH:OFFSET`."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `EPOCH:OFFSET`; raises `ValueError` if it isn't that."""
        epoch, colon, offset = text.rpartition(":")
        if not colon or not offset.isascii() or not offset.isdigit():
            raise ValueError(f"{text!r} is no position: it is written EPOCH:OFFSET")
        return cls(epoch, int(offset))


@dataclasses.dataclass(frozen=True)
class Message:
    """One message of a channel."""

    type: str
    event_type: str
    channel: str
    data: Any
    """What the JSON holds."""
    offset: int | None
    """Rising over all channels, not dense; None on an ephemeral channel."""
    message_id: str
    """The same whenever the message comes again."""
    timestamp: datetime.datetime
    """When it was committed at its source."""
    key: str | None = None
    """On a state channel: which value this replaces."""
    deleted: bool = False
    """On a state channel: the key is gone."""
    late: bool = False
    """Made of an event that was set aside and replayed."""
    recovered: bool = False
    """Brought by a `subscribe` with an `after` of its own."""

    def to_dict(self) -> dict[str, Any]:
        """The message as the protocol writes it."""
        fields = {"type": self.type, "event_type": self.event_type, "channel": self.channel}
        at = self.timestamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.timestamp.microsecond // 1000:03}Z"
        return {
            **fields,
            **({} if self.offset is None else {"offset": self.offset}),
            "message_id": self.message_id,
            "timestamp": at,
            **({} if self.key is None else {"key": self.key}),
            **{name: True for name in ("deleted", "late", "recovered") if getattr(self, name)},
            "data": self.data,
        }


@dataclasses.dataclass(frozen=True)
class Gap:
    """Something before `position` can't be had any more: take anew whatever you keep of `channel`.

    Live dictionaries do so by themselves.
    """

    reason: str
    """`epoch`, `beyond_head`, `pruned` or `source`; `not_taken`: see `Client`."""
    position: Position
    detail: str | None = None
    channel: str | None = None
    """The only one that lost something; None: all may have."""


@dataclasses.dataclass(frozen=True)
class Connected:
    """The server took the client in."""

    session: str
    position: Position
    user: str
    role: str
    heartbeat_ms: int
    message_bytes: int
    """The largest command that the server takes."""


@dataclasses.dataclass(frozen=True)
class Mark:
    """There was nothing up to here."""

    position: Position


@dataclasses.dataclass(frozen=True)
class Subscribed:
    """The channel is live."""

    id: int | None
    channel: str
    position: Position
    kind: str | None = None
    """`stream`, `state` or `ephemeral`; None from servers that don't say."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """`unsubscribed`, `published` or `pong`."""

    id: int | None
    offset: int | None = None


@dataclasses.dataclass(frozen=True)
class Failure:
    """An `error`."""

    id: int | None
    code: int
    name: str
    message: str
    channel: str | None = None
    """The one that was refused."""


Frame = Message | Gap | Connected | Mark | Subscribed | Answer | Failure


def read(text: str | bytes) -> Frame | None:
    """Read one frame of the server; None if it is of a newer protocol.

    Raises `ProtocolError` if it is none.
    """
    try:
        fields = json.loads(text)
        return _read(fields)
    except (KeyError, TypeError, ValueError) as wrong:
        raise ProtocolError(f"a frame that can't be read ({wrong!r}): {text[:200]!r}") from wrong


def _read(fields: dict[str, Any]) -> Frame | None:
    # A message may have a `type` like `published`, but only a message has an id of its own.
    if "message_id" in fields:
        return _message(fields)
    kind, number = fields["type"], fields.get("id")
    if kind == "position":
        return Mark(_position(fields))
    if kind in ("pong", "published", "unsubscribed"):
        return Answer(number, fields.get("offset"))
    if kind == "subscribed":
        return Subscribed(number, fields["channel"], _position(fields), fields.get("kind"))
    if kind == "error":
        return Failure(number, fields["code"], fields["name"], fields["message"], fields.get("channel"))
    if kind == "gap":
        return Gap(fields["reason"], _position(fields), fields.get("detail"), fields.get("channel"))
    if kind == "connected":
        who = (fields["user"], fields["role"])
        limits = (fields["heartbeat_ms"], fields["message_bytes"])
        return Connected(fields["session"], _position(fields), *who, *limits)
    return None


def _message(fields: dict[str, Any]) -> Message:
    return Message(
        type=fields["type"],
        event_type=fields["event_type"],
        channel=fields["channel"],
        data=fields["data"],
        offset=fields.get("offset"),
        message_id=fields["message_id"],
        # Python 3.10 doesn't read the Z.
        timestamp=datetime.datetime.fromisoformat(fields["timestamp"].replace("Z", "+00:00")),
        key=fields.get("key"),
        deleted=fields.get("deleted", False),
        late=fields.get("late", False),
        recovered=fields.get("recovered", False),
    )


def _position(fields: dict[str, Any]) -> Position:
    return Position(fields["epoch"], fields["offset"])


def write(**fields: Any) -> str:
    """One frame of the client; raises `ValueError` or `TypeError` for what is no JSON.

    Fields that are None are left out, but for `data`, where null says something.
    """
    given = {name: value for name, value in fields.items() if value is not None or name == "data"}
    return json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def place(position: Position | None) -> dict[str, Any] | None:
    """A position as a frame's `after`."""
    return None if position is None else dataclasses.asdict(position)
