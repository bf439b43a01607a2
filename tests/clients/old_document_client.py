#!/usr/bin/env python3
"""The client of the original's document, as it was: `old_document_client.py ws://HOST:PORT TOKEN [SECONDS]`.

It opens the documented path with its token in the query, says nothing, and switches on `type`. It exits
with 0 as soon as it has shown one of each kind, else with 1 and a list of what never came. Something has to
happen meanwhile: a task and an efectivo change, and somebody publishes an alert. Relevo's tests run it
(clients/python/tests/test_old_clients.py); it knows nothing of Relevo, and needs `websockets` alone.
"""

import asyncio
import json
import sys

import websockets

PATH = "/api/v1/ws/connect"


def on_task_event(event):
    data = event["data"]
    task = data["task_data"]
    if data["sub_event_type"] == "status_changed":
        return f"Tarea {data['task_id']}: {task['old_status']} -> {task['new_status']}"
    return None


def on_efectivo_event(event):
    data = event["data"]
    if data["sub_event_type"] == "status_changed":
        return f"Efectivo {data['efectivo_id']}: {data['efectivo_data']['new_status']}"
    return None


def on_system_event(event):
    data = event["data"]
    return f"[{data['level']}] {data['title']}: {data['content']}"


def on_dashboard_update(event):
    data = event["data"]
    return f"{data['active_tasks']} de {data['total_tasks']} tareas en curso, {data['available_efectivos']} disponibles"


HANDLERS = {
    "task_event": on_task_event,
    "efectivo_event": on_efectivo_event,
    "system_event": on_system_event,
    "dashboard_update": on_dashboard_update,
}


async def watch(url, token, missing):
    async with websockets.connect(f"{url}{PATH}?token={token}") as socket:
        async for text in socket:
            event = json.loads(text)
            handler = HANDLERS.get(event["type"])
            shown = handler(event) if handler else None
            if shown:
                print(shown, flush=True)
                missing.discard(event["type"])
            if not missing:
                return


def main():
    url, token = sys.argv[1:3]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 60
    missing = set(HANDLERS)
    try:
        asyncio.run(asyncio.wait_for(watch(url, token, missing), seconds))
    except (asyncio.TimeoutError, OSError, websockets.WebSocketException) as why:
        print(f"{type(why).__name__} {why}", file=sys.stderr)
    if missing:
        print("never came: " + ", ".join(sorted(missing)), file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
