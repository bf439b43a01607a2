"""One harness for all tests: `world` makes a server's world, and a failing test shows the server's log."""

from collections.abc import Callable, Iterator

import pytest
from world import Missing, World, binary, components

MakeWorld = Callable[..., World]


def pytest_sessionstart() -> None:
    try:
        binary()
        components()
    except Missing as what:
        pytest.exit(str(what), returncode=1)


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
