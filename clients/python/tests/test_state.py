"""Live dictionaries: equal to a count in the database, whatever happened on the way."""

import asyncio
import random

import pytest
from between import Between
from conftest import MakeWorld
from test_resuming import kill_and_serve
from wait import soon, until
from world import World, token

import relevo

OPEN = "deleted_at is null and estado in ('PROGRAMMED', 'IN_PROGRESS', 'PAUSED')"


def connect(world: World, *channels: str) -> relevo.Client:
    assert world.server is not None
    quick = relevo.Backoff(first=0.05, longest=0.2)
    return relevo.connect(world.server.url, token=token(), channels=channels, backoff=quick)


def shown(board: relevo.State) -> dict[str, str]:
    return {key: value["task_data"]["titulo"] for key, value in board.items()}


def counted(world: World) -> dict[str, str]:
    return {str(key): title for key, title in world.query(f"select id, titulo from tareas where {OPEN}")}


async def assert_equal(board: relevo.State, world: World) -> None:
    """It comes to what the database holds. Nobody may be writing."""
    wanted = counted(world)
    try:
        await until("the board equals the database", lambda: board.live and shown(board) == wanted)
    except AssertionError:
        assert shown(board) == wanted
        raise


def task(key: int, title: str, estado: str = "PROGRAMMED") -> str:
    return f"""insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
        efectivos_asignados, created_at, updated_at) values
        ({key}, 't-{key}', 'T-{key}', '{title}', 'PATRULLAJE', 'LOW', '{estado}', 1, '[]', '2026', '2026')"""


def random_change(dice: random.Random, n: int) -> str:
    key = dice.randrange(1, 40)
    return dice.choice(
        [
            task(key, f"new {n}").replace("insert", "insert or ignore"),
            f"update tareas set titulo = 'title {n}' where id = {key}",
            f"update tareas set estado = 'COMPLETED' where id = {key}",
            f"update tareas set estado = 'PAUSED' where id = {key}",
            f"update tareas set deleted_at = '2026-01-02' where id = {key}",
            f"update tareas set deleted_at = null where id = {key}",
            f"delete from tareas where id = {key}",
        ]
    )


async def test_it_shows_each_key_and_follows_its_changes(world: World) -> None:
    async with connect(world) as client:
        board = await soon(client.state("tasks:board"))
        assert shown(board) == {"1": "Patrulla norte", "2": "Vigilancia sur"}
        assert board.live
        assert "1" in board
        assert "9" not in board
        assert board.message("1").event_type == "task_board"
        assert await soon(client.state("tasks:board")) is board
        changes = board.changes()
        for change, key, title in (
            (task(3, "third"), "3", "third"),
            ("update tareas set titulo = 'other' where id = 1", "1", "other"),
            ("update tareas set estado = 'COMPLETED' where id = 3", "3", None),
            ("delete from tareas where id = 2", "2", None),
        ):
            world.sql(change)
            got = await soon(anext(changes))
            assert (got.key, got.deleted) == (key, title is None)
            assert (got.data and got.data["task_data"]["titulo"]) == title
            assert got.message is not None
            # What a change tells of is there when it is told.
            assert shown(board).get(key) == title
        await assert_equal(board, world)
        await soon(client.unsubscribe("tasks:board"))
        assert [change async for change in changes] == []
        assert not board.live


async def test_it_equals_the_database_after_random_changes_and_kills(world: World) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    dice = random.Random(seed)
    async with connect(world) as client:
        board = await soon(client.state("tasks:board"))
        mirror = dict(board)

        async def follow(changes: relevo.Changes) -> None:
            async for change in changes:
                if change.deleted:
                    mirror.pop(change.key, None)
                else:
                    mirror[change.key] = change.data

        following = asyncio.create_task(follow(board.changes()))
        for round_ in range(4):

            async def write(first: int = round_ * 1000) -> None:
                for n in range(first, first + 60):
                    await asyncio.to_thread(world.sql, random_change(dice, n))

            writer = asyncio.create_task(write())
            await asyncio.sleep(dice.uniform(0, 0.3))  # The kill comes anywhere: no thing to wait for.
            await kill_and_serve(world)
            await soon(writer)
            await assert_equal(board, world)
            await until("the changes lead to the same", lambda: mirror == dict(board))
        following.cancel()


async def test_keys_that_went_while_it_was_away_are_gone(world: World) -> None:
    gate = asyncio.Event()
    gate.set()

    async def get() -> str:
        await gate.wait()
        return token()

    assert world.server is not None
    quick = relevo.Backoff(first=0.05, longest=0.2)
    async with relevo.connect(world.server.url, token=get, backoff=quick) as client:
        board = await soon(client.state("tasks:board"))
        changes = board.changes()
        gate.clear()
        await kill_and_serve(world)
        await until("it knows that it is not live", lambda: not board.live)
        assert shown(board) == {"1": "Patrulla norte", "2": "Vigilancia sur"}
        world.sql("delete from tareas where id = 1; update tareas set titulo = 'seen later' where id = 2")
        async with connect(world) as other:
            # The server has both changes before it comes back: it is never sent that key 1 went.
            await assert_equal(await soon(other.state("tasks:board")), world)
        gate.set()
        await assert_equal(board, world)
        seen = [await soon(anext(changes)) for _ in range(2)]
        assert {change.key: change.deleted for change in seen} == {"1": True, "2": False}
        assert {change.key: change.message is None for change in seen} == {"1": True, "2": False}


async def test_what_did_not_change_is_no_change_after_a_reconnect(world: World) -> None:
    async with connect(world) as client:
        board = await soon(client.state("tasks:board"))
        changes = board.changes()
        await kill_and_serve(world)
        await until("it is back", lambda: board.live and client.connected)
        await soon(client.ping())
        world.title("the only change", task=2)
        change = await soon(anext(changes))
        assert (change.key, change.data["task_data"]["titulo"]) == ("2", "the only change")


async def test_it_is_exact_after_the_journal_was_lost(world: World) -> None:
    async with connect(world) as client:
        board = await soon(client.state("tasks:board"))
        world.sql(task(7, "seven"))
        await assert_equal(board, world)
        assert world.server is not None
        await asyncio.to_thread(world.server.stop)
        world.forget_journal()
        world.sql("delete from tareas where id = 1; update tareas set estado = 'CANCELLED' where id = 7")
        await asyncio.to_thread(world.serve)
        await assert_equal(board, world)
        assert set(board) == {"2"}
        gap = await soon(anext(client))
        assert isinstance(gap, relevo.Gap)


async def test_it_is_taken_anew_after_a_gap_in_a_running_server(world: World) -> None:
    async with connect(world) as client:
        board = await soon(client.state("tasks:board"))
        other = await soon(client.state("efectivos:board"))
        begun = [board._as_of, other._as_of]
        # A column that comes in with values is a gap: docs/capture-sqlite.md.
        world.sql("alter table tareas add column nueva text default 'x'")
        gap = await soon(anext(client))
        assert isinstance(gap, relevo.Gap)
        assert gap.reason == "source"
        # That nothing is missing then is what the test of many dictionaries shows.
        await until("both were taken anew", lambda: board._as_of > begun[0] and other._as_of > begun[1])
        await until("both are live", lambda: board.live and other.live)


async def test_a_gap_of_one_channel_makes_no_other_dictionary_doubtful(world: World) -> None:
    async with Between(world) as between, relevo.connect(between.url, token=token()) as client:
        board = await soon(client.state("tasks:board"))
        other = await soon(client.state("efectivos:board"))
        begun, start = (board._as_of, other._as_of), client.position
        world.title("later than both")
        await until("it is shown", lambda: shown(board)["1"] == "later than both")
        lost = relevo.Position(start.epoch, start.offset + 1_000)
        # No server says so of a state channel today; what is said of one is of that one alone.
        fields = {"reason": "source", "epoch": lost.epoch, "offset": lost.offset}
        await between.say(type="gap", channel="efectivos:board", **fields)
        gap = await soon(anext(client))
        assert gap == relevo.Gap("source", lost, channel="efectivos:board")
        assert client.position == start
        await until("that one was taken anew", lambda: other.live and other._as_of > begun[1])
        assert board._as_of == begun[0]
        await between.say(type="gap", channel="tasks", **fields)
        assert isinstance(await soon(anext(client)), relevo.Gap)
        await soon(client.ping())
        assert (board.live, other.live, board._as_of) == (True, True, begun[0])


async def test_a_slow_reader_of_changes_gets_the_newest_of_each_key(world: World) -> None:
    async with connect(world) as client:
        board = await soon(client.state("tasks:board"))
        changes = board.changes()
        for n in range(10):
            world.title(f"title {n}")
            await until("it is shown", lambda n=n: shown(board)["1"] == f"title {n}")  # type: ignore[misc]
        world.title("last", task=2)
        await until("it is shown", lambda: shown(board)["2"] == "last")
        got = [await soon(anext(changes)) for _ in range(2)]
        assert [(change.key, change.data["task_data"]["titulo"]) for change in got] == [
            ("1", "title 9"),
            ("2", "last"),
        ]


async def test_a_channel_is_a_dictionary_or_iterated_but_not_both(world: World) -> None:
    async with connect(world, "dashboard:kpis") as client:
        with pytest.raises(ValueError, match="unsubscribe it first"):
            await client.state("dashboard:kpis")
        await soon(client.state("tasks:board"))
        with pytest.raises(ValueError, match="followed by state"):
            await client.subscribe("tasks:board")


async def test_a_channel_that_may_not_be_read_is_an_error(world: World) -> None:
    async with connect(world) as client:
        for _ in range(2):
            with pytest.raises(relevo.CommandError, match="forbidden"):
                await soon(client.state("nothing:here"))


async def test_a_call_that_was_cancelled_is_picked_up_by_the_next(world: World) -> None:
    async with connect(world) as client:
        assert world.server is not None
        await asyncio.to_thread(world.server.kill)
        await until("the server is gone", lambda: not client.connected)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.state("tasks:board"), 0.01)
        await asyncio.to_thread(world.serve)
        await assert_equal(await soon(client.state("tasks:board")), world)


async def test_an_iterated_state_channel_repeats_nothing_after_a_break(world: World) -> None:
    async with connect(world, "tasks:board") as client:
        first = [await soon(anext(client)) for _ in range(2)]
        assert {item.key for item in first if isinstance(item, relevo.Message)} == {"1", "2"}
        await kill_and_serve(world)
        await soon(client.ping())
        world.title("news", task=2)
        item = await soon(anext(client))
        assert isinstance(item, relevo.Message)
        assert (item.key, item.data["task_data"]["titulo"]) == ("2", "news")


async def test_many_dictionaries_are_taken_anew_one_after_the_other(new_world: MakeWorld) -> None:
    """As two commands for each would be more than the server lets wait."""
    rules = '[[channel]]\npattern = "many:*"\nkind = "state"\nread = ["*"]\npublish = ["ADMIN"]\n'
    world = new_world(rules=rules)
    world.serve()
    async with connect(world) as client:
        boards = [await soon(client.state(f"many:{n}")) for n in range(90)]
        for n in range(90):
            await soon(client.publish(f"many:{n}", n))
        wanted = [{"": n} for n in range(90)]
        await until("all are shown", lambda: [dict(board) for board in boards] == wanted)
        begun = boards[-1]._as_of
        world.sql("alter table tareas add column nueva text default 'x'")
        await until("the last one was taken anew", lambda: boards[-1]._as_of > begun)
        assert [dict(board) for board in boards] == wanted


async def test_a_dictionary_of_a_stream_is_refused_at_once_and_the_client_goes_on(world: World) -> None:
    async with connect(world, "efectivos") as client:
        with pytest.raises(ValueError, match="tasks is no state channel but of kind stream"):
            await soon(client.state("tasks"))
        board = await soon(client.state("tasks:board"))
        await assert_equal(board, world)
        world.sql(task(50, "after it"))
        await until("the change", lambda: shown(board).get("50") == "after it")
        assert "tasks" not in client.channels
