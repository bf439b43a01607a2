"""What a client does about each way in which a connection may end, as docs/protocol.md wants it."""

from collections.abc import Callable

import pytest
from between import Between
from wait import soon, until
from world import World, token

import relevo

QUICK = relevo.Backoff(first=0.01, longest=0.05)


def connect(between: Between) -> relevo.Client:
    return relevo.connect(between.url, token=token, channels=["tasks"], backoff=QUICK)


async def assert_next(client: relevo.Client, title: str) -> None:
    item = await soon(anext(client))
    assert isinstance(item, relevo.Message), item
    assert item.data["task_data"]["titulo"] == title


async def test_it_comes_back_after_every_end_that_does_not_forbid_it(world: World) -> None:
    ends: dict[str, Callable[[Between], None]] = {
        "no close frame": Between.cut,
        "no code": lambda between: between.close(None),
    }
    # Relevo's own, a proxy's, a newer server's, and one that no WebSocket may have (2000).
    for code in (4000, 4001, 4002, 4006, 1000, 1001, 1008, 1011, 1012, 1013, 2000, 3000, 4321):
        ends[str(code)] = lambda between, code=code: between.close(code)  # type: ignore[misc]
    async with Between(world) as between, connect(between) as client:
        for n, (name, end) in enumerate(ends.items(), start=1):
            end(between)
            world.title(f"after {name}")
            await assert_next(client, f"after {name}")
            await until("it is another connection", lambda n=n: client._connections > n)  # type: ignore[misc]


@pytest.mark.parametrize("code", [1002, 1003, 1007, 4500, 4501, 4777, 4999])
async def test_it_ends_where_coming_back_is_forbidden(world: World, code: int) -> None:
    async with Between(world) as between, connect(between) as client:
        between.close(code)
        with pytest.raises(relevo.Closed) as closed:
            await soon(anext(client))
        assert (closed.value.code, client._connections) == (code, 1)


async def test_what_was_too_large_for_a_proxy_fails_and_the_rest_goes_on(world: World) -> None:
    async with Between(world) as between, connect(between) as client:
        between.close(1009)
        large = client.publish("system", "x" * 5000)
        with pytest.raises(relevo.Closed, match="message_too_large") as closed:
            await soon(large)
        assert closed.value.advice.startswith("send less")
        await soon(client.publish("system", "small"))
        world.title("after it")
        await assert_next(client, "after it")
