"""Connecting, and everything that a client can ask for."""

import asyncio
import datetime
import json

import pytest
from conftest import MakeWorld
from test_resuming import kill_and_serve
from wait import soon, until
from world import World, token

import relevo


def connect(world: World, *channels: str, user: str = "900", role: str = "ADMIN") -> relevo.Client:
    assert world.server is not None
    return relevo.connect(world.server.url, token=token(user, role), channels=channels)


async def message(client: relevo.Client) -> relevo.Message:
    item = await soon(anext(client))
    assert isinstance(item, relevo.Message), item
    return item


async def test_a_change_in_the_database_is_a_typed_message(world: World) -> None:
    async with connect(world, "tasks") as client:
        await client.ping()
        world.sql("update tareas set estado = 'IN_PROGRESS' where id = 1")
        got = await message(client)
    assert (got.channel, got.type, got.event_type) == ("tasks", "task_event", "task_status_changed")
    assert got.data["task_data"]["id"] == 1
    assert got.offset is not None
    assert got.key is None
    age = datetime.datetime.now(datetime.timezone.utc) - got.timestamp
    assert datetime.timedelta() <= age < datetime.timedelta(minutes=1)
    assert client.position.offset == got.offset


async def test_a_message_is_written_as_it_came(world: World) -> None:
    async with connect(world, "tasks", "tasks:board") as client:
        first = (await message(client)).to_dict()
    assert list(first) == [
        "type",
        "event_type",
        "channel",
        "offset",
        "message_id",
        "timestamp",
        "key",
        "data",
    ]
    assert first["timestamp"].endswith("Z")
    json.dumps(first)


async def test_a_client_gets_its_own_channel_unasked(world: World) -> None:
    async with connect(world, user="2", role="LEVEL_1") as client:
        assert (client.user, client.role) == ("2", "LEVEL_1")
        world.sql("update tareas set efectivos_asignados = '[1]' where id = 1")
        got = await message(client)
    assert (got.channel, got.event_type) == ("user:2", "task_assigned")


async def test_subscribing_brings_messages_and_unsubscribing_ends_them(world: World) -> None:
    async with connect(world) as client:
        live_from = await soon(client.subscribe("tasks"))
        world.title("first")
        first = await message(client)
        assert first.offset is not None
        assert first.offset > live_from.offset
        assert client.channels == ("tasks",)
        await soon(client.unsubscribe("tasks"))
        assert not client.channels
        await soon(client.subscribe("system"))
        world.title("unseen")
        world.sql("update tareas set estado = 'IN_PROGRESS' where id = 1")
        await soon(client.publish("system", "after it"))
        # Rising order over all channels: what was not there before this does not come after it.
        got = await message(client)
    assert (got.channel, got.data) == ("system", "after it")


async def test_what_a_subscription_recovers_is_marked_and_does_not_move_the_position(world: World) -> None:
    async with connect(world, "tasks") as client:
        start = client.position
        for n in range(5):
            world.title(f"early {n}")
            await message(client)
        await soon(client.subscribe("system"))
        await soon(client.publish("system", "later than these"))
        await message(client)
        early = client.position
        await soon(client.unsubscribe("tasks"))
        await soon(client.subscribe("tasks", after=start))
        again = [await message(client) for _ in range(5)]
        assert [m.data["task_data"]["titulo"] for m in again] == [f"early {n}" for n in range(5)]
        assert all(m.recovered for m in again)
        assert client.position == early
        world.title("late")
        late = await message(client)
        assert (late.data["task_data"]["titulo"], late.recovered) == ("late", False)


async def test_a_publication_reaches_its_subscribers(world: World) -> None:
    async with connect(world, "system") as client:
        for data in ({"text": "¡hola!"}, [1.5, True], None):
            number = await soon(client.publish("system", data, event_type="alert"))
            got = await message(client)
            assert (got.type, got.event_type, got.data) == ("published", "alert", data)
            assert got.offset is not None
            assert got.offset > number


async def test_the_same_idempotency_key_publishes_once(world: World) -> None:
    async with connect(world, "system") as client:
        first = await soon(client.publish("system", 1, idempotency_key="k"))
        assert await soon(client.publish("system", 1, idempotency_key="k")) == first
        await soon(client.publish("system", 2))
        assert [(await message(client)).data for _ in range(2)] == [1, 2]


async def test_a_refused_publication_says_why_and_what_to_do(world: World) -> None:
    async with connect(world, role="LEVEL_1") as client:
        with pytest.raises(relevo.CommandError, match="forbidden \\(105\\)") as refusal:
            await soon(client.publish("system", 1))
        assert (refusal.value.code, refusal.value.name) == (relevo.ErrorCode.FORBIDDEN, "forbidden")
        assert refusal.value.advice
        await soon(client.ping())


async def test_what_can_not_be_published_harms_nothing(world: World) -> None:
    async with connect(world, "system") as client:
        with pytest.raises(ValueError, match="the server takes"):
            await soon(client.publish("system", "x" * 70_000))
        for wrong in (float("nan"), "\ud800"):
            with pytest.raises(ValueError, match=r".+"):
                await client.publish("system", wrong)
        with pytest.raises(TypeError):
            await client.publish("system", object())
        await soon(client.publish("system", "x" * 60_000))
        assert len((await message(client)).data) == 60_000


async def test_the_server_says_how_much_it_takes(new_world: MakeWorld) -> None:
    world = new_world('session.message_bytes = "2KiB"')
    world.serve()
    async with connect(world, "system") as client:
        with pytest.raises(ValueError, match="the server takes 2048"):
            await soon(client.publish("system", "x" * 2048))
        await soon(client.publish("system", "x" * 1800))
        assert len((await message(client)).data) == 1800
        assert client._connections == 1


async def test_bad_commands_raise_and_the_connection_stays(world: World) -> None:
    async with connect(world, "tasks") as client:
        for channel, code in (
            ("no such", relevo.ErrorCode.BAD_CHANNEL),
            ("nothing", relevo.ErrorCode.FORBIDDEN),
            ("tasks", relevo.ErrorCode.ALREADY_SUBSCRIBED),
        ):
            with pytest.raises(relevo.CommandError) as refusal:
                await soon(client.subscribe(channel))
            assert refusal.value.code == code
            if isinstance(refusal.value, relevo.ChannelRefused):
                assert refusal.value.channel == channel
        with pytest.raises(relevo.CommandError) as refusal:
            await soon(client.unsubscribe("system"))
        assert refusal.value.code == relevo.ErrorCode.NOT_SUBSCRIBED
        assert 0 < await soon(client.ping()) < 30


async def test_more_commands_than_the_server_lets_wait_are_all_answered(world: World) -> None:
    async with connect(world) as client:
        await soon(asyncio.gather(*(client.publish("system", n) for n in range(500))))


async def test_a_channel_that_is_refused_at_the_start_is_raised_and_the_others_go_on(world: World) -> None:
    async with connect(world, "nothing", "tasks", "nothing:else") as client:
        for channel in ("nothing", "nothing:else"):
            with pytest.raises(relevo.ChannelRefused) as refusal:
                await message(client)
            assert (refusal.value.channel, refusal.value.code) == (channel, relevo.ErrorCode.FORBIDDEN)
        world.title("goes on")
        assert (await message(client)).data["task_data"]["titulo"] == "goes on"
        assert client.channels == ("tasks",)
        with pytest.raises(relevo.ChannelRefused) as refusal:
            await soon(client.subscribe("nothing"))
        assert refusal.value.channel == "nothing"
        with pytest.raises(relevo.ChannelRefused) as refusal:
            await soon(client.state("nothing"))
        assert refusal.value.channel == "nothing"


async def test_a_channel_that_is_refused_later_is_raised_once_and_the_others_go_on(
    new_world: MakeWorld,
) -> None:
    """The user's role has changed: the next token has another one."""
    stream = '[[channel]]\npattern = "secret"\nread = ["ADMIN"]\n'
    state = '[[channel]]\npattern = "secret:board"\nkind = "state"\nread = ["ADMIN"]\n'
    world = new_world(rules=stream + state)
    server = world.serve()
    role = "ADMIN"
    quick = relevo.Backoff(first=0.05, longest=0.2)
    channels = ["secret", "tasks"]
    async with relevo.connect(
        server.url, token=lambda: token(role=role), channels=channels, backoff=quick
    ) as client:
        secret, board = [await soon(client.state(name)) for name in ("secret:board", "tasks:board")]
        changes = secret.changes()
        role = "LEVEL_1"
        await kill_and_serve(world)
        with pytest.raises(relevo.ChannelRefused) as refusal:
            await message(client)
        assert refusal.value.channel == "secret"
        with pytest.raises(relevo.ChannelRefused) as refusal:
            await soon(anext(changes))
        assert refusal.value.channel == "secret:board"
        await kill_and_serve(world)
        world.title("goes on")
        assert (await message(client)).channel == "tasks"
        await until("the other board goes on", lambda: board.live)
        assert not secret.live
        assert set(client.channels) == {"tasks", "tasks:board"}
        with pytest.raises(relevo.ChannelRefused):
            await soon(client.state("secret:board"))


async def test_a_closed_client_ends_its_iteration_and_refuses_commands(world: World) -> None:
    client = connect(world, "tasks")
    async with client:
        pass
    assert [item async for item in client] == []
    with pytest.raises(relevo.ClientClosed):
        await client.ping()


async def test_a_server_that_is_not_there_is_an_error_in_time() -> None:
    with pytest.raises(relevo.NoConnection, match=r"127\.0\.0\.1:1"):
        async with relevo.connect("ws://127.0.0.1:1", token="t", connect_within=0.2):
            pass


async def test_what_is_no_relevo_is_named(world: World) -> None:
    assert world.server is not None
    with pytest.raises(relevo.NotRelevo, match="HTTP 404"):
        async with relevo.connect(world.server.url + "/nowhere", token="t"):
            pass


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEVO_URL", raising=False)
    monkeypatch.delenv("RELEVO_TOKEN", raising=False)
    for wrong, what in (
        ({}, "RELEVO_URL"),
        ({"url": "ws://h"}, "RELEVO_TOKEN"),
        ({"url": "http://h", "token": "t"}, "no address"),
        ({"url": "ws://h", "token": "t", "after": "7"}, "EPOCH:OFFSET"),
        ({"url": "ws://h", "token": "t", "channels": "tasks"}, "list of names"),
    ):
        with pytest.raises(ValueError, match=what):
            relevo.connect(**wrong)  # type: ignore[arg-type]


async def test_the_environment_names_server_and_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.server is not None
    monkeypatch.setenv("RELEVO_URL", world.server.url)
    monkeypatch.setenv("RELEVO_TOKEN", token("7"))
    async with relevo.connect() as client:
        assert client.user == "7"
