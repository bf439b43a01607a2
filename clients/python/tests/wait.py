"""Waiting for the thing itself, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

SOON = 30.0
"""How long a test waits for what ought to come at once: only a broken server or client waits it out."""

T = TypeVar("T")


async def soon(what: Awaitable[T], within: float = SOON) -> T:
    """Await something that ought to come at once."""
    return await asyncio.wait_for(what, within)


async def until(what: str, look: Callable[[], object], within: float = SOON) -> None:
    """Look until it is true: for what can't wake us (a process, a file, a property)."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while not look():
        assert clock() < deadline, f"waited {within:g} s in vain: {what}"
        await asyncio.sleep(0.005)
