"""Each example of the README, and the one program of the repository's README, run as they stand."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from test_tail import line
from wait import soon, until
from world import ROOT, World, token

TEXT = (Path(__file__).resolve().parents[1] / "README.md").read_text()
EXAMPLES = dict(re.findall(r"^## ([^\n]+)\n\n```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE))


@asynccontextmanager
async def example(heading: str, world: World, folder: Path) -> AsyncIterator[Process]:
    async with program(EXAMPLES[heading], world, folder) as process:
        yield process


@asynccontextmanager
async def program(text: str, world: World, folder: Path) -> AsyncIterator[Process]:
    assert world.server is not None
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", text),
        env={**os.environ, "RELEVO_URL": world.server.url, "RELEVO_TOKEN": token()},
        cwd=folder,
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def first_line(process: Process, world: World, title: str) -> str:
    """Change a task until the example, which may be on its way to the server, prints a line."""
    reading = asyncio.create_task(line(process.stdout))

    def changed() -> bool:
        world.sql(f"update tareas set titulo = '{title} ' || random() where id = 1")
        return reading.done()

    await until("a line", changed)
    return await reading


def test_every_example_is_run_here() -> None:
    assert TEXT.count("```python") == len(EXAMPLES) == 4


async def test_follow_channels(world: World, tmp_path: Path) -> None:
    async with example("Follow channels", world, tmp_path) as process:
        assert (await first_line(process, world, "one")).startswith("task_updated one")


async def test_keep_a_dictionary(world: World, tmp_path: Path) -> None:
    async with example("Keep a dictionary up to date", world, tmp_path) as process:
        assert await line(process.stdout) == "['1', '2'] Patrulla norte"
        world.title("other", task=2)
        assert await line(process.stdout) == "2 other"
        world.sql("delete from tareas where id = 1")
        assert await line(process.stdout) == "1 gone"


async def test_go_on_after_a_restart(world: World, tmp_path: Path) -> None:
    async with example("Go on after your own restart", world, tmp_path) as process:
        await first_line(process, world, "one")
        world.title("the last that it saw")
        while "the last that it saw" not in await line(process.stdout):
            pass
        world.title("done")
        while "'done'" not in await line(process.stdout):
            pass
    world.title("missed")
    async with example("Go on after your own restart", world, tmp_path) as process:
        while "missed" not in (printed := await line(process.stdout)):
            assert "'done'" in printed, "only the item that was printed and not yet saved may come again"


async def test_commands(world: World, tmp_path: Path) -> None:
    async with example("Commands", world, tmp_path) as process:
        out, _ = await soon(process.communicate())
        data, ping, refusal = out.decode().splitlines()
        assert data == "{'text': 'shift ends'}"
        assert re.fullmatch(r"\d+\.\d{3} s", ping)
        assert refusal.startswith("105 forbidden ")
        assert process.returncode == 0


async def test_the_tour_s_program(world: World, tmp_path: Path) -> None:
    (text,) = re.findall(r"^```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    async with program(text, world, tmp_path) as process:
        assert "task_updated" in await first_line(process, world, "one")
