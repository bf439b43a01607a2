"""A user who doesn't take: memory stays bounded, and nothing is lost or stuck."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from conftest import MakeWorld
from wait import soon, until
from world import World, token

import relevo

LIMIT = 64 << 10
FAT = 15_000


def connect(world: World, *channels: str, user: str = "900") -> relevo.Client:
    assert world.server is not None
    quick = relevo.Backoff(first=0.05, longest=0.2)
    return relevo.connect(
        world.server.url, token=token(user), channels=channels, backoff=quick, queue_bytes=LIMIT
    )


def fat_changes(world: World, first: int, count: int) -> None:
    """Rows large enough that a few hundred fill every buffer on the way, each in a change of its own."""
    for n in range(first, first + count):
        world.fat(n, FAT)


def number(item: relevo.Item) -> int:
    assert isinstance(item, relevo.Message), item
    return int(item.data["task_data"]["titulo"].removeprefix("fat "))


async def test_the_client_stops_to_read_the_server_closes_it_and_nothing_is_lost(
    new_world: MakeWorld,
) -> None:
    # A client that reads nothing answers no ping either: that is another matter.
    world = new_world('session.outbox_bytes = "128KiB"', 'session.heartbeat = "1h"')
    world.serve()
    async with connect(world, "tasks") as client, connect(world, "tasks") as quick:
        largest = written = 0
        # 13 MB, more than the kernel's buffers and the server's outbox hold.
        while written < 450:
            await asyncio.to_thread(fat_changes, world, written, 50)
            written += 50
            while number(await soon(anext(quick))) < written - 1:
                pass
            largest = max(largest, client._inbox._size)
        # One item may go over the limit, as its size is known when it is there.
        assert LIMIT < largest < LIMIT + 3 * FAT
        assert client.backlog < 10
        got = [await soon(anext(client)) for _ in range(written)]
        assert [number(item) for item in got] == list(range(written))
        # It was closed meanwhile and came back, else the buffers held everything and the test is too small.
        assert client._connections > 1
        world.title("fat 450")
        assert number(await soon(anext(client))) == 450


async def test_a_client_that_is_held_up_longer_than_the_heartbeat_comes_back(new_world: MakeWorld) -> None:
    world = new_world('session.heartbeat = "300ms"', 'session.pong_within = "300ms"')
    server = world.serve()
    async with connect(world, "tasks") as client:
        await soon(client.ping())
        sockets = server.sockets()
        writing = asyncio.to_thread(fat_changes, world, 0, 60)
        await soon(writing)
        await until("it stopped to read", lambda: client._held)
        await until("the server has left it", lambda: server.sockets() < sockets)
        got = [await soon(anext(client)) for _ in range(60)]
        assert [number(item) for item in got] == list(range(60))
        await soon(client.ping())
        assert client._connections > 1


async def test_commands_are_answered_though_the_queue_is_full(world: World) -> None:
    """The one who should empty the queue is the one who waits for the answer."""
    async with connect(world, "tasks", "system") as client:
        await asyncio.to_thread(fat_changes, world, 0, 5)
        await until("it stopped to read", lambda: client._held)
        for n in range(3):
            await soon(client.publish("system", n))
            await soon(client.ping())
        board = await soon(client.state("tasks:board"))
        assert set(board) == {"1", "2"}
        got = [await soon(anext(client)) for _ in range(8)]
        assert [
            item.data for item in got if isinstance(item, relevo.Message) and item.channel == "system"
        ] == [
            0,
            1,
            2,
        ]


async def test_a_command_behind_too_much_fails_and_nothing_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relevo.client._NOT_TAKEN_WITHIN", 0.2)
    async with connect(world) as client:
        start = client.position
        async with connect(world, "tasks") as other:
            await asyncio.to_thread(fat_changes, world, 0, 40)
            while number(await soon(anext(other))) < 39:
                pass
        # Its answer comes behind all that it recovers, which is more than may wait.
        with pytest.raises(relevo.NotTaken, match="in a task of its own"):
            await soon(client.subscribe("tasks", after=start))
        assert client._inbox._size < 4 * LIMIT + 3 * FAT
        got = [await soon(anext(client)) for _ in range(40)]
        assert [number(item) for item in got] == list(range(40))
        # What was given up is undone.
        await soon(client.ping())
        await until("it has left the channel", lambda: not client._commands._waiting)
        assert client.channels == ()


async def test_subscribing_in_a_task_of_its_own_works_however_much_comes(world: World) -> None:
    async with connect(world) as client:
        start = client.position
        await asyncio.to_thread(fat_changes, world, 0, 40)
        subscribing = asyncio.create_task(client.subscribe("tasks", after=start))
        got = [await soon(anext(client)) for _ in range(40)]
        assert [number(item) for item in got] == list(range(40))
        await soon(subscribing)


async def test_a_dictionary_goes_on_though_nobody_iterates(world: World) -> None:
    """The client's own channel fills the queue, and nobody ever asked for a message."""

    async def change(count: int) -> None:
        for n in range(count):
            text = "x" * FAT
            who = "[1]" if n % 2 == 0 else "[]"
            sql = f"titulo = 'fat {n}', descripcion = '{text}', efectivos_asignados = '{who}'"
            await asyncio.to_thread(world.sql, f"update tareas set {sql} where id = 1")

    async with connect(world, user="2") as client:
        board = await soon(client.state("tasks:board"))
        await change(40)
        await until("the board shows it", lambda: board["1"]["task_data"]["titulo"] == "fat 39")
        assert client._inbox._size < LIMIT + 3 * FAT
        items = [await soon(anext(client)) for _ in range(client.backlog)]
        gaps = [item for item in items if isinstance(item, relevo.Gap)]
        assert [gap.reason for gap in gaps] == ["not_taken"]
        # From now on somebody iterates, so all comes.
        changing: Awaitable[Any] = asyncio.create_task(change(40))
        got = [await soon(anext(client)) for _ in range(20)]
        assert [number(item) for item in got] == list(range(0, 40, 2))
        await changing
