"""Tokens: fixed ones, functions that get them, and what happens when one expires."""

import asyncio

import pytest
from wait import soon, until
from world import World, token

import relevo

QUICK = relevo.Backoff(first=0.05, longest=0.2)


def connect(world: World, get: relevo.Token) -> relevo.Client:
    assert world.server is not None
    return relevo.connect(world.server.url, token=get, channels=["tasks"], backoff=QUICK)


class Tokens:
    """Gives these tokens, one for each call; the last one for ever."""

    def __init__(self, *lasts: float) -> None:
        self.lasts = list(lasts)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        return token(lasts=self.lasts.pop(0) if len(self.lasts) > 1 else self.lasts[0])

    async def later(self) -> str:
        await asyncio.sleep(0)
        return self()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_token_that_expires_is_renewed_and_nothing_is_missed(world: World, kind: str) -> None:
    tokens = Tokens(2, 3600)
    async with connect(world, tokens if kind == "sync" else tokens.later) as client:
        assert tokens.calls == 1
        await until("the server said that it expired", lambda: tokens.calls == 2)
        world.title("unmissed")
        item = await soon(anext(client))
        assert isinstance(item, relevo.Message)
        assert item.data["task_data"]["titulo"] == "unmissed"


async def test_a_function_is_asked_before_each_connection(world: World) -> None:
    tokens = Tokens(3600)
    async with connect(world, tokens) as client:
        assert world.server is not None
        await asyncio.to_thread(world.server.kill)
        await asyncio.to_thread(world.serve)
        await soon(client.ping())
        assert tokens.calls >= 2


async def test_an_expired_token_is_renewed_at_the_start(world: World) -> None:
    tokens = Tokens(-10, -10, 3600)
    async with connect(world, tokens) as client:
        await soon(client.ping())
    assert tokens.calls == 3


async def test_a_fixed_token_that_has_expired_is_an_error(world: World) -> None:
    with pytest.raises(relevo.TokenExpired, match="token_expired \\(4005\\)") as refusal:
        async with connect(world, token(lasts=-10)):
            pass
    assert refusal.value.message
    async with connect(world, token(lasts=2)) as client:
        with pytest.raises(relevo.TokenExpired):
            await soon(anext(client))


async def test_a_function_that_only_gives_expired_tokens_is_an_error(world: World) -> None:
    tokens = Tokens(-10)
    with pytest.raises(relevo.TokenExpired):
        async with connect(world, tokens):
            pass
    assert tokens.calls == 5


async def test_a_token_that_is_not_accepted_is_tried_once(world: World) -> None:
    calls = 0

    def forged() -> str:
        nonlocal calls
        calls += 1
        return token(secret="another secret of thirty-two bytes!!")

    with pytest.raises(relevo.Closed, match="unauthorized \\(4500\\): ") as refusal:
        async with connect(world, forged):
            pass
    assert (refusal.value.code, calls) == (relevo.CloseCode.UNAUTHORIZED, 1)


async def test_a_function_that_fails_is_an_error_at_the_start_and_asked_again_later(world: World) -> None:
    fails = True

    def get() -> str:
        if fails:
            raise LookupError("no token today")
        return token()

    with pytest.raises(LookupError):
        async with connect(world, get):
            pass
    fails = False
    async with connect(world, get) as client:
        fails = True
        assert world.server is not None
        await asyncio.to_thread(world.server.kill)
        await asyncio.to_thread(world.serve)
        await until("the connection is lost", lambda: not client.connected)
        fails = False
        await soon(client.ping())
