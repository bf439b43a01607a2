"""The command `python -m relevo tail`."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from wait import SOON, soon
from world import World, token

import relevo


@asynccontextmanager
async def tail(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RELEVO_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "relevo", "tail", *arguments),
        env={**kept, **environment},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await soon(stream.readline())).decode().rstrip()


async def note(process: Process, text: str) -> str:
    """Wait for a line of standard error that holds a text."""
    while text not in (found := await line(process.stderr)):
        assert found, f"it ended without {text!r}"
    return found


def server(world: World) -> dict[str, str]:
    assert world.server is not None
    return {"RELEVO_URL": world.server.url, "RELEVO_TOKEN": token()}


async def test_it_prints_what_comes_and_comes_back_by_itself(world: World) -> None:
    async with tail("tasks", **server(world)) as process:
        await note(process, "connected at")
        world.title("first")
        assert '"titulo":"first"' in await line(process.stdout)
        assert world.server is not None
        await asyncio.to_thread(world.server.kill)
        world.title("second")
        await asyncio.to_thread(world.serve)
        assert '"titulo":"second"' in await line(process.stdout)


async def test_with_json_each_line_is_a_message(world: World) -> None:
    assert world.server is not None
    options = ("--url", world.server.url, "--token", token(), "--json", "--count", "3")
    async with tail("tasks", "tasks:board", *options) as process:
        keys = [json.loads(await line(process.stdout))["key"] for _ in range(2)]
        assert sorted(keys) == ["1", "2"]
        await note(process, "connected at")
        await asyncio.to_thread(world.title, "a task's title".replace("'", "''"))
        last = json.loads(await line(process.stdout))
        assert last["data"]["task_data"]["titulo"] == "a task's title"
        assert await soon(process.wait()) == 0


async def test_ctrl_c_ends_it_cleanly_and_says_where_it_was(world: World) -> None:
    for how in (signal.SIGINT, signal.SIGTERM):
        async with tail("tasks", **server(world)) as process:
            await note(process, "connected at")
            world.title("seen")
            await line(process.stdout)
            process.send_signal(how)
            out, err = await soon(process.communicate())
            assert (process.returncode, out) == (0, b"")
            assert b"Traceback" not in err
            where = err.decode().split("stopped at ")[1].strip()
        world.title("missed")
        async with tail("tasks", "--after", where, **server(world)) as process:
            assert '"titulo":"missed"' in await line(process.stdout)


async def test_ctrl_c_ends_it_while_the_server_is_away() -> None:
    async with tail("tasks", "--url", "ws://127.0.0.1:1", "--token", "t") as process:
        await note(process, "again in")
        process.send_signal(signal.SIGINT)
        _, err = await soon(process.communicate())
        assert process.returncode == 0
        assert b"Traceback" not in err


async def test_a_reader_that_leaves_ends_it(world: World) -> None:
    async with tail("tasks", **server(world)) as process:
        await note(process, "connected at")
        assert process.stdout is not None
        transport = process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()
        writing = asyncio.create_task(keep_writing(world))
        _, err = await soon(process.communicate())
        writing.cancel()
        assert process.returncode == 0
        assert b"Traceback" not in err


async def keep_writing(world: World) -> None:
    for n in range(int(SOON * 10)):
        await asyncio.to_thread(world.title, f"title {n}")
        await asyncio.sleep(0.1)  # Until a write meets the closed pipe.


async def test_a_refusal_ends_it_with_what_to_do(world: World) -> None:
    for options, what in (
        ({**server(world), "RELEVO_TOKEN": "nonsense"}, relevo.CloseCode.UNAUTHORIZED),
        ({**server(world), "RELEVO_TOKEN": token(lasts=-10)}, relevo.CloseCode.TOKEN_EXPIRED),
    ):
        async with tail("tasks", **options) as process:
            _, err = await soon(process.communicate())
            assert process.returncode == 1
            assert f"({int(what)})" in err.decode()
            assert b"Traceback" not in err
    async with tail("nothing", **server(world)) as process:
        _, err = await soon(process.communicate())
        assert (process.returncode, b"forbidden (105)" in err) == (1, True)
    async with tail("tasks") as process:
        _, err = await soon(process.communicate())
        assert (process.returncode, b"RELEVO_URL" in err) == (1, True)
