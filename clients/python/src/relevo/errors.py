"""What can go wrong, as exceptions; each says what to do."""

from __future__ import annotations

from .codes import close_advice, close_name, error_advice


class RelevoError(Exception):
    """The base of all errors of this package."""


class CommandError(RelevoError):
    """The server didn't carry out a command."""

    def __init__(self, code: int, name: str, message: str) -> None:
        self.code = code
        """The number; compare it with `ErrorCode`."""
        self.name = name
        self.message = message
        """Why, for people."""
        self.advice = error_advice(code)
        """What to do."""
        super().__init__(f"{name} ({code}): {message}; {self.advice}")


class ChannelRefused(CommandError):
    """The server doesn't let the client have a channel.

    Raised by the call that asked for it. Where it was asked for at a connection's start, it is raised
    where the client is iterated, once, and the client goes on without the channel; a live dictionary's
    `changes()` raise it.
    """

    def __init__(self, code: int, name: str, message: str, channel: str) -> None:
        super().__init__(code, name, message)
        self.channel = channel
        """The channel's name."""


class Closed(RelevoError):
    """The server closed the connection in a way that forbids coming back.

    Raised by a command alone if that was too large: then the client goes on.
    """

    def __init__(self, code: int, name: str = "", message: str = "") -> None:
        self.code = code
        """The number; compare it with `CloseCode`."""
        self.name = name or close_name(code)
        self.message = message
        """Why, for people; may be empty."""
        self.advice = close_advice(code)
        """What to do."""
        why = f": {message}" if message else ""
        super().__init__(f"closed with {self.name} ({code}){why}; {self.advice}")


class TokenExpired(Closed):
    """The token is no longer good, and there is no function that gets a good one."""


class NoConnection(RelevoError):
    """The server could not be reached in the time that was given."""


class NotRelevo(RelevoError):
    """What answered is no Relevo server, or refused the request as HTTP."""


class ProtocolError(RelevoError):
    """The server said something that the protocol doesn't allow."""


class NotTaken(RelevoError):
    """A command's answer stands behind messages that nobody takes.

    The queue is full, and the command was given by the task that should empty it: give it in another one.
    """


class ClientClosed(RelevoError):
    """The client was closed."""
