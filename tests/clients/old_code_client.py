#!/usr/bin/env python3
"""The client of the original's code, as it was: `old_code_client.py ws://HOST:PORT TOKEN [SECONDS]`.

It sends its token in the header, waits for `connection_ack`, switches on `event_type`, speaks (ping, pong,
subscribe, dashboard_update, metrics_update, and once nonsense) and is refused without a token. It exits with 0
once it has seen everything, else with 1 and a list of what never came. Something has to happen meanwhile: the
status of a task and of an efectivo changes, and a task is changed in another way, which its filter holds
back. It is pinged only every 30 s, unless the server is told otherwise. Relevo's tests run it
(clients/python/tests/test_old_clients.py); it knows nothing of Relevo, and needs `websockets` alone.
"""

import asyncio
import json
import sys
from datetime import datetime, timezone

import websockets

PATH = "/ws/connect"
ENVELOPE = {"event_type", "data", "timestamp", "message_id", "target_user_id", "target_role"}
WANTED = ["task_status_changed", "efectivo_status_changed"]
DASHBOARD = {
    *("total_tasks", "active_tasks", "completed_tasks", "pending_tasks", "active_efectivos"),
    *("available_efectivos", "busy_efectivos", "alerts_count", "last_updated"),
}


class Wrong(Exception):
    """The server did something that the original never did."""


class Client:
    def __init__(self, socket, missing):
        self.socket = socket
        self.missing = missing
        self.filtered = False
        self.asked = False

    async def say(self, event_type, data):
        now = datetime.now(timezone.utc).isoformat()
        message = {"event_type": event_type, "data": data, "timestamp": now, "client_id": "consola-1"}
        await self.socket.send(json.dumps(message))

    def saw(self, what, holds=True):
        if not holds:
            raise Wrong(what)
        if what in self.missing:
            print(what, flush=True)
            self.missing.remove(what)

    async def handle(self, event):
        kind, data = event["event_type"], event["data"]
        if not ENVELOPE <= event.keys():
            raise Wrong(f"no whole envelope: {event}")
        if kind == "connection_ack":
            self.saw(kind, {"connection_id", "connected_at", "server_time"} <= data.keys())
            await self.say("subscribe", {"events": WANTED})
            await self.say("dashboard_update", {})
            await self.say("metrics_update", {})
            await self.say("ping", {"client_time": "2025-09-22T04:55:00"})
            await self.socket.send("esto no es JSON {")
        elif kind == "ping":
            self.saw(kind, "server_time" in data)
            await self.say("pong", {"client_time": "2025-09-22T04:55:00", "server_time": data["server_time"]})
        elif kind == "pong":
            self.saw(kind, "server_time" in data)
        elif kind == "notification":
            self.filtered = True
            self.saw("the subscription's answer", data == {
                "title": "Suscripción confirmada", "content": "Suscrito a 2 tipos de eventos", "level": "info",
            })  # fmt: skip
        elif kind == "dashboard_update":
            # By itself it comes before the filter, and behind it only once, as the answer.
            if self.filtered:
                self.saw("the dashboard on request", not self.asked and data.keys() >= DASHBOARD)
                self.asked = True
        elif kind == "metrics_update":
            self.saw(kind, data["connections"]["total"] >= 1)
        elif kind == "error":
            self.saw("the error for what is no JSON", bool(data["error"]))
        elif kind == "task_status_changed":
            task = data["task_data"]
            self.saw(kind, data["sub_event_type"] == "status_changed" and task["old_status"] != task["new_status"])
        elif kind == "efectivo_status_changed":
            self.saw(kind, data["sub_event_type"] == "status_changed" and bool(data["efectivo_data"]["new_status"]))
        elif self.filtered:
            raise Wrong(f"{kind} came in spite of the filter")


async def refused(url, token):
    """Whether the server closes with 1008."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with websockets.connect(f"{url}{PATH}", additional_headers=headers) as socket:
        try:
            while True:
                await socket.recv()
        except websockets.ConnectionClosed as closed:
            return closed.rcvd is not None and closed.rcvd.code == 1008


async def watch(url, token, missing):
    for what, bad in (("refused without a token", None), ("refused with a bad token", token + "x")):
        if await refused(url, bad):
            missing.remove(what)
    async with websockets.connect(f"{url}{PATH}", additional_headers={"Authorization": f"Bearer {token}"}) as socket:
        client = Client(socket, missing)
        first = json.loads(await socket.recv())
        if first["event_type"] != "connection_ack":
            raise Wrong(f"connection_ack is the first message, not {first}")
        await client.handle(first)
        while missing:
            await client.handle(json.loads(await socket.recv()))


def main():
    url, token = sys.argv[1:3]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 60
    missing = [
        *("refused without a token", "refused with a bad token", "connection_ack", "the subscription's answer"),
        *("the dashboard on request", "metrics_update", "ping", "pong", "the error for what is no JSON"),
        *WANTED,
    ]
    try:
        asyncio.run(asyncio.wait_for(watch(url, token, missing), seconds))
    except (asyncio.TimeoutError, OSError, websockets.WebSocketException, Wrong, KeyError) as why:
        print(f"{type(why).__name__}: {why}", file=sys.stderr)
        if missing:
            print("never came: " + ", ".join(missing), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
