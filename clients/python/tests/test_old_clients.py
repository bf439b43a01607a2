"""The original's two clients, unchanged, against the real server with real changes.

What they are and expect stands in tests/clients/; finer cases are in tests/tests/e2e/gad.rs.
"""

import asyncio
import json
import sys
import urllib.request
from asyncio.subprocess import PIPE

import pytest
from conftest import MakeWorld
from wait import SOON
from world import ROOT, World, token

CLIENTS = ROOT / "tests/clients"


def happen(world: World, round_: int) -> None:
    """Everything that the clients wait for, and a change that a filter holds back."""
    world.sql(
        "update tareas set estado = case estado when 'PAUSED' then 'IN_PROGRESS' else 'PAUSED' end"
        " where id = 2;"
        "update efectivos set estado_disponibilidad = case estado_disponibilidad"
        " when 'EN_TAREA' then 'DISPONIBLE' else 'EN_TAREA' end where id = 1"
    )
    world.title(f"round {round_}")
    assert world.server is not None
    alert = {"level": "alert", "title": "Alerta", "content": "Todos a la base"}
    request = urllib.request.Request(
        world.server.url.replace("ws:", "http:") + "/api/v1/events",
        data=json.dumps(alert).encode(),
        headers={"Authorization": f"Bearer {token()}"},
    )
    with urllib.request.urlopen(request, timeout=SOON) as answer:
        assert answer.status == 202


@pytest.mark.parametrize("script", ["old_document_client.py", "old_code_client.py"])
async def test_an_old_client_works_unchanged(new_world: MakeWorld, script: str) -> None:
    world = new_world('session.heartbeat = "300ms"\nsession.pong_within = "5s"')
    url = world.serve().url
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", str(CLIENTS / script), url, token("7", "LEVEL_2"), str(SOON)),
        stdout=PIPE,
        stderr=PIPE,
    )
    talking = asyncio.create_task(client.communicate())
    round_ = 0
    while not talking.done():
        await asyncio.to_thread(happen, world, round_ := round_ + 1)
        await asyncio.wait([talking], timeout=0.05)
    out, err = await talking
    assert client.returncode == 0, out.decode() + err.decode()


async def test_an_old_client_that_gets_nothing_says_what_is_missing(world: World) -> None:
    assert world.server is not None
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", str(CLIENTS / "old_document_client.py"), world.server.url, token("7"), "1"),
        stdout=PIPE,
        stderr=PIPE,
    )
    _, err = await client.communicate()
    assert client.returncode == 1
    assert "never came: efectivo_event, system_event, task_event" in err.decode()
