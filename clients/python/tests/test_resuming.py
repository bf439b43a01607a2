"""Coming back: nothing missed, nothing twice, and what can't be had is said."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator

import pytest
from conftest import MakeWorld
from wait import SOON, soon, until
from world import World, token

import relevo

QUICK = relevo.Backoff(first=0.05, longest=0.2)


def connect(world: World, *channels: str, after: relevo.Position | None = None) -> relevo.Client:
    assert world.server is not None
    return relevo.connect(world.server.url, token=token(), channels=channels, after=after, backoff=QUICK)


def title(item: relevo.Item) -> str:
    assert isinstance(item, relevo.Message), item
    found = item.data["task_data"]["titulo"]
    assert isinstance(found, str)
    return found


async def kill_and_serve(world: World) -> None:
    assert world.server is not None
    await asyncio.to_thread(world.server.kill)
    await asyncio.to_thread(world.serve)


async def write(world: World, titles: list[str]) -> None:
    """One change after the other, whether the server runs or not."""
    for each in titles:
        await asyncio.to_thread(world.title, each)


async def take(items: AsyncIterator[relevo.Item], count: int) -> list[relevo.Item]:
    return [await soon(anext(items)) for _ in range(count)]


async def test_every_message_comes_once_and_in_order_however_often_the_server_is_killed(world: World) -> None:
    titles = [f"change {n}" for n in range(240)]
    async with connect(world, "tasks") as client:
        writer = asyncio.create_task(write(world, titles))
        taken = asyncio.create_task(take(client, len(titles)))
        for _ in range(4):
            await until("something was written", lambda: client.backlog or writer.done() or client.connected)
            await asyncio.sleep(random.uniform(0, 0.3))  # The kill comes anywhere: no thing to wait for.
            await kill_and_serve(world)
        await soon(writer)
        items = await soon(taken, 2 * SOON)
        # The last word is the server's: nothing comes after what was written.
        await write(world, ["the end"])
        assert title(await soon(anext(client))) == "the end"
    assert [title(item) for item in items] == titles
    offsets = [item.offset for item in items if isinstance(item, relevo.Message)]
    assert offsets == sorted(set(offsets), key=lambda offset: offset or 0)


async def test_a_saved_position_brings_exactly_what_was_missed(world: World) -> None:
    async with connect(world, "tasks") as client:
        await write(world, ["one", "two", "three"])
        # All three have come, but the second is the last that was taken.
        await take(client, 2)
        await until("the third is there", lambda: client.backlog == 1)
        saved = str(client.position)
    await write(world, ["four"])
    async with connect(world, "tasks", after=relevo.Position.parse(saved)) as client:
        assert [title(item) for item in await take(client, 2)] == ["three", "four"]


async def test_a_quiet_client_moves_on_with_the_servers_marks(new_world: MakeWorld) -> None:
    world = new_world('session.heartbeat = "200ms"', 'session.pong_within = "10s"')
    world.serve()
    async with connect(world, "system") as client:
        start = client.position
        await write(world, ["not for it"])
        await until("a mark moved its position", lambda: client.position.offset > start.offset)


async def test_channels_that_were_joined_later_are_there_after_a_break(world: World) -> None:
    async with connect(world) as client:
        await soon(client.subscribe("tasks"))
        await soon(client.subscribe("system"))
        await soon(client.unsubscribe("system"))
        await write(world, ["before"])
        assert title(await soon(anext(client))) == "before"
        await kill_and_serve(world)
        await write(world, ["after"])
        assert title(await soon(anext(client))) == "after"
        assert client.channels == ("tasks",)


async def test_what_lies_between_the_number_and_a_later_subscription_does_not_come_after_a_break(
    world: World,
) -> None:
    async with connect(world) as client:
        start = client.position
        await write(world, ["too early"])
        # The number stays: nothing on a channel that it has.
        async with connect(world, "tasks", after=start) as other:
            await take(other, 1)
        await soon(client.subscribe("tasks"))
        await kill_and_serve(world)
        await write(world, ["in time"])
        assert title(await soon(anext(client))) == "in time"


async def test_what_a_subscription_recovered_does_not_come_again_after_a_break(world: World) -> None:
    async with connect(world) as client:
        start = client.position
        await write(world, ["one", "two"])
        async with connect(world, "tasks", after=start) as other:
            await take(other, 2)
        await soon(client.subscribe("tasks", after=start))
        assert [title(item) for item in await take(client, 2)] == ["one", "two"]
        # The number is where it was: a resume brings both again, and the client drops them.
        assert client.position == start
        await kill_and_serve(world)
        await write(world, ["three"])
        assert title(await soon(anext(client))) == "three"


async def test_commands_given_while_the_server_is_away_are_done_once_when_it_is_back(world: World) -> None:
    async with connect(world) as client:
        assert world.server is not None
        await asyncio.to_thread(world.server.kill)
        await until("the client knows", lambda: not client.connected)
        subscribed = asyncio.create_task(client.subscribe("system"))
        published = [asyncio.create_task(client.publish("system", n)) for n in range(20)]
        await asyncio.to_thread(world.serve)
        await soon(subscribed)
        await soon(asyncio.gather(*published))
        got = await take(client, 20)
        assert [item.data for item in got if isinstance(item, relevo.Message)] == list(range(20))


async def test_publications_come_once_though_the_server_is_killed_among_them(world: World) -> None:
    async with connect(world, "system") as client:
        taken = asyncio.create_task(take(client, 300))
        for round_ in range(3):
            published = [client.publish("system", round_ * 100 + n) for n in range(100)]
            publishing = asyncio.gather(*published)
            await kill_and_serve(world)
            await soon(publishing)
        got = [item.data for item in await soon(taken) if isinstance(item, relevo.Message)]
        await soon(client.publish("system", "the end"))
        last = await soon(anext(client))
        assert isinstance(last, relevo.Message)
        assert last.data == "the end"
    assert sorted(got) == list(range(300))


async def test_a_server_that_stops_and_starts_is_come_back_to(world: World) -> None:
    async with connect(world, "tasks") as client:
        assert world.server is not None
        await asyncio.to_thread(world.server.stop)
        await write(world, ["while it was down"])
        await asyncio.to_thread(world.serve)
        assert title(await soon(anext(client))) == "while it was down"


async def test_a_lost_journal_is_one_gap_and_then_life_goes_on(world: World) -> None:
    async with connect(world, "tasks", "tasks:board") as client:
        assert {item.key for item in await take(client, 2) if isinstance(item, relevo.Message)} == {"1", "2"}
        await write(world, ["in the first life"])
        stream = next(item for item in await take(client, 2) if getattr(item, "key", "") is None)
        assert title(stream) == "in the first life"
        old = client.position
        assert world.server is not None
        await asyncio.to_thread(world.server.stop)
        world.forget_journal()
        await asyncio.to_thread(world.serve)
        gap = await soon(anext(client))
        assert isinstance(gap, relevo.Gap), gap
        assert (gap.reason, gap.channel) == ("epoch", None)
        assert gap.position.epoch != old.epoch
        assert client.position == gap.position
        await write(world, ["in the second life"])
        titles = []
        while "in the second life" not in titles:
            item = await soon(anext(client))
            assert isinstance(item, relevo.Message), item
            titles += [title(item)] if item.channel == "tasks" else []
        # Its offsets are lower than those of the first life, and are no doubles.
        assert client.position.epoch == gap.position.epoch
    async with connect(world, "tasks", after=old) as client:
        assert isinstance(await soon(anext(client)), relevo.Gap)


async def test_offsets_that_begin_anew_after_a_gap_are_no_doubles(world: World) -> None:
    async with connect(world, "tasks") as client:
        await write(world, [f"change {n}" for n in range(60)])
        await take(client, 60)
        old = client.position
        assert world.server is not None
        await asyncio.to_thread(world.server.stop)
        world.forget_journal()
        await asyncio.to_thread(world.serve)
        assert isinstance(await soon(anext(client)), relevo.Gap)
        await write(world, ["in the second life"])
        assert title(await soon(anext(client))) == "in the second life"
        assert client.position.offset < old.offset


async def test_a_gap_is_not_hidden_by_a_break_before_it_is_taken(world: World) -> None:
    async with connect(world, "tasks") as client:
        await write(world, ["one"])
        await take(client, 1)
        assert world.server is not None
        await asyncio.to_thread(world.server.stop)
        world.forget_journal()
        await asyncio.to_thread(world.serve)
        await until("the gap waits", lambda: client.backlog == 1)
        await kill_and_serve(world)
        await write(world, ["two"])
        assert isinstance(await soon(anext(client)), relevo.Gap)
        assert title(await soon(anext(client))) == "two"


async def test_a_position_beyond_the_head_is_a_gap_and_new_messages_are_no_doubles(world: World) -> None:
    async with connect(world, "tasks") as client:
        here = client.position
    beyond = relevo.Position(here.epoch, here.offset + 1_000_000)
    async with connect(world, "tasks", after=beyond) as client:
        gap = await soon(anext(client))
        assert isinstance(gap, relevo.Gap)
        assert gap.reason == "beyond_head"
        await write(world, ["new"])
        assert title(await soon(anext(client))) == "new"


async def test_a_gap_of_one_subscription_leaves_the_position_alone(world: World) -> None:
    async with connect(world) as client:
        start = client.position
        await soon(client.subscribe("tasks", after=relevo.Position("another-life", 1)))
        gap = await soon(anext(client))
        assert isinstance(gap, relevo.Gap)
        assert (gap.channel, client.position) == ("tasks", start)


async def test_what_was_pruned_is_a_gap_of_its_channel_alone(new_world: MakeWorld) -> None:
    world = new_world(rules='[[channel]]\npattern = "tasks"\nread = ["*"]\nkeep_for = "1s"\n')
    world.serve()
    async with connect(world, "tasks", "system") as client:
        saved = client.position
        await soon(client.publish("system", "kept"))
        # More than 64 KiB: as much the server hands out from memory, however old.
        for n in range(10):
            await asyncio.to_thread(world.fat, n)
        await take(client, 11)
        last = client.position

    async def pruned() -> None:
        first: relevo.Item | None = None
        while not isinstance(first, relevo.Gap) or first.position.offset < last.offset:
            await asyncio.sleep(0.2)  # Time does it, and nothing tells of it.
            async with connect(world, "tasks", "system", after=saved) as client:
                first = await anext(client)

    await soon(pruned())
    async with connect(world, "tasks", "system", after=saved) as client:
        gap = await soon(anext(client))
        assert isinstance(gap, relevo.Gap)
        assert (gap.reason, gap.channel, client.position) == ("pruned", "tasks", saved)
        kept = await soon(anext(client))
        assert isinstance(kept, relevo.Message)
        assert (kept.channel, kept.data) == ("system", "kept")
        await write(world, ["new"])
        assert title(await soon(anext(client))) == "new"


async def test_a_server_that_stays_away_ends_the_client_if_that_is_wished(world: World) -> None:
    assert world.server is not None
    client = relevo.connect(world.server.url, token=token(), backoff=QUICK, give_up_after=0.5)
    async with client:
        waiting = asyncio.create_task(client.ping())
        await soon(waiting)
        await asyncio.to_thread(world.server.kill)
        asking = asyncio.create_task(client.ping())
        with pytest.raises(relevo.NoConnection):
            await soon(anext(client))
        with pytest.raises(relevo.NoConnection):
            await soon(asking)


async def test_a_silent_server_is_left_and_come_back_to(new_world: MakeWorld) -> None:
    """It is stopped (SIGSTOP): the connection stays open, and nothing comes."""
    world = new_world('session.heartbeat = "1s"', 'session.pong_within = "60s"')
    server = world.serve()
    async with connect(world, "tasks") as client:
        server.process.send_signal(signal.SIGSTOP)
        try:
            await until("the client has left", lambda: not client.connected, within=20)
        finally:
            server.process.send_signal(signal.SIGCONT)
        await write(world, ["awake"])
        assert title(await soon(anext(client))) == "awake"
