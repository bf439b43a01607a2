"""Client for Relevo: follow a server's channels, and come back after every break by yourself.

```python
async with relevo.connect("ws://127.0.0.1:8002", token=token, channels=["tasks"]) as client:
    async for item in client:
        ...
```
"""

from .backoff import Backoff
from .client import Client, Token, connect
from .codes import CloseCode, ErrorCode
from .errors import (
    ChannelRefused,
    ClientClosed,
    Closed,
    CommandError,
    NoConnection,
    NotRelevo,
    NotTaken,
    ProtocolError,
    RelevoError,
    TokenExpired,
)
from .frames import Gap, Message, Position
from .inbox import Item
from .state import Change, Changes, State

__all__ = [
    "Backoff",
    "Change",
    "Changes",
    "ChannelRefused",
    "Client",
    "ClientClosed",
    "CloseCode",
    "Closed",
    "CommandError",
    "ErrorCode",
    "Gap",
    "Item",
    "Message",
    "NoConnection",
    "NotRelevo",
    "NotTaken",
    "Position",
    "ProtocolError",
    "RelevoError",
    "State",
    "Token",
    "TokenExpired",
    "connect",
]
