"""One harness for all tests: `world` makes a server's world, and a failing test shows the server's log."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest
from world import COMPILED, Missing, World, binary, components

MakeWorld = Callable[..., World]


def is_worker(session: pytest.Session) -> bool:
    """Whether this is one of the processes among which pytest-xdist divides the tests."""
    return hasattr(session.config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    if is_worker(session):
        return
    # It is another run's if a test has started this one.
    os.environ.pop(COMPILED, None)
    try:
        binary()
        components()
    except Missing as what:
        pytest.exit(str(what), returncode=1)
    # Before there are workers, who would all do it at once.
    world = World()
    try:
        world.serve()
        compiled = tempfile.mkdtemp(prefix="relevo-py-compiled-")
        shutil.copytree(world.data / "cache", compiled, dirs_exist_ok=True)
        os.environ[COMPILED] = compiled
    finally:
        world.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not is_worker(session) and COMPILED in os.environ:
        shutil.rmtree(os.environ.pop(COMPILED), ignore_errors=True)


@pytest.fixture
def new_world(request: pytest.FixtureRequest) -> Iterator[MakeWorld]:
    """Makes worlds with settings of the test's own."""
    worlds: list[World] = []

    def make(*settings: str, rules: str = "") -> World:
        worlds.append(World(*settings, rules=rules))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()
        # Pytest shows what was printed if the test failed.
        print("--- the server's log (last 60 lines):", *list(world.log())[-60:], sep="\n")


@pytest.fixture
def world(new_world: MakeWorld) -> World:
    """A world whose server runs."""
    world = new_world()
    world.serve()
    return world
