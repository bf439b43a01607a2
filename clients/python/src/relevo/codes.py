"""The protocol's error and close codes, and what to do about each (docs/protocol.md has the tables)."""

from __future__ import annotations

import enum
from typing import Final


class Then(enum.Enum):
    """What a client does after its connection was closed."""

    RESUME = "come back at once"
    WAIT = "wait, then come back"
    NEW_TOKEN = "get a new token, then come back"
    SEND_LESS = "give up what was too large, wait, then come back"
    STOP = "don't come back"


class ErrorCode(enum.IntEnum):
    """Why a command was not carried out."""

    INTERNAL = 100
    BAD_JSON = 101
    UNKNOWN_COMMAND = 102
    BAD_COMMAND = 103
    BAD_CHANNEL = 104
    FORBIDDEN = 105
    ALREADY_SUBSCRIBED = 106
    NOT_SUBSCRIBED = 107
    TOO_MANY_SUBSCRIPTIONS = 108
    TOO_MANY_COMMANDS = 109
    ALREADY_CONNECTED = 110
    NOT_PUBLISHED = 111
    UNAUTHORIZED = 112


class CloseCode(enum.IntEnum):
    """Why the server closed a connection."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    BINARY_NOT_SUPPORTED = 1003
    INVALID_UTF8 = 1007
    MESSAGE_TOO_LARGE = 1009
    SHUTDOWN = 4000
    SLOW_CONSUMER = 4001
    SILENT = 4002
    TOO_MANY_CONNECTIONS = 4003
    HELLO_TIMEOUT = 4004
    TOKEN_EXPIRED = 4005
    INTERNAL = 4006
    UNAUTHORIZED = 4500
    BAD_CONNECT = 4501


_BUG: Final = "this is a bug in the client: report it"

_ERROR_ADVICE: Final[dict[int, str]] = {
    ErrorCode.INTERNAL: "the server failed; try again later",
    ErrorCode.BAD_JSON: _BUG,
    ErrorCode.UNKNOWN_COMMAND: "the server is older than this client: update it",
    ErrorCode.BAD_COMMAND: "correct what the message names",
    ErrorCode.BAD_CHANNEL: "give a name of 1 to 128 letters, digits and : . _ - /",
    ErrorCode.FORBIDDEN: "ask for another role, or check the channel's name",
    ErrorCode.ALREADY_SUBSCRIBED: "don't subscribe to it twice",
    ErrorCode.NOT_SUBSCRIBED: "subscribe first; a session's own user: and role: channels can't be left",
    ErrorCode.TOO_MANY_SUBSCRIPTIONS: "unsubscribe from another channel first",
    ErrorCode.TOO_MANY_COMMANDS: "wait for answers before the next command",
    ErrorCode.ALREADY_CONNECTED: _BUG,
    ErrorCode.NOT_PUBLISHED: "do what the message says, or try again later",
    ErrorCode.UNAUTHORIZED: "get a good token",
}

_CLOSES: Final[dict[int, tuple[Then, str]]] = {
    # The server's answer to a client that closed, which is not waited for: any other is a proxy's.
    CloseCode.NORMAL: (Then.WAIT, "see what stands between client and server"),
    CloseCode.PROTOCOL_ERROR: (Then.STOP, _BUG),
    CloseCode.BINARY_NOT_SUPPORTED: (Then.STOP, _BUG),
    CloseCode.INVALID_UTF8: (Then.STOP, _BUG),
    CloseCode.MESSAGE_TOO_LARGE: (Then.SEND_LESS, "send less at once, or raise session.message_bytes"),
    CloseCode.SHUTDOWN: (Then.WAIT, "the server is back soon"),
    CloseCode.SLOW_CONSUMER: (Then.RESUME, "take messages faster"),
    CloseCode.SILENT: (Then.RESUME, "let the event loop run: it answers the server's pings"),
    CloseCode.TOO_MANY_CONNECTIONS: (Then.WAIT, "raise session.max_connections"),
    CloseCode.HELLO_TIMEOUT: (Then.WAIT, "let the event loop run: the server waited for `connect`"),
    CloseCode.TOKEN_EXPIRED: (Then.NEW_TOKEN, "give a new token, or a function that gets one"),
    CloseCode.INTERNAL: (Then.WAIT, "see the server's log"),
    CloseCode.UNAUTHORIZED: (Then.STOP, "get a token that this server accepts"),
    CloseCode.BAD_CONNECT: (Then.STOP, "check the channels' names and `after`"),
}

# What forbids to come back, whether it is known or a newer server's.
_FINAL: Final = range(4500, 5000)


def error_advice(code: int) -> str:
    """What to do about an error."""
    return _ERROR_ADVICE.get(code, "update the client: it doesn't know this code")


def close_advice(code: int) -> str:
    """What to do about a close."""
    return _CLOSES[code][1] if code in _CLOSES else "see the server's documentation of this code"


def then(code: int) -> Then:
    """What a client does after a close; a code that it doesn't know says it by its range."""
    if code in _CLOSES:
        return _CLOSES[code][0]
    return Then.STOP if code in _FINAL else Then.WAIT


def close_name(code: int) -> str:
    """The name of a close code, where the server gave none."""
    try:
        return CloseCode(code).name.lower()
    except ValueError:
        return "unknown"
