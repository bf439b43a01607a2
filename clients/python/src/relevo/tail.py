"""The command `tail`: messages to standard output, everything else to standard error."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence

from .client import Client, connect
from .errors import RelevoError
from .frames import Message

DESCRIPTION = "Prints channels as messages come, and comes back by itself after every break."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, format="-- %(message)s", level=logging.WARNING)
    logging.getLogger("relevo").setLevel(logging.INFO)
    try:
        client = connect(
            options.url,
            token=options.token,
            channels=options.channels,
            after=options.after,
            connect_within=None,
        )
        return asyncio.run(_tail(client, options.json, options.count))
    except BrokenPipeError:
        # Nobody reads any more: as good as Ctrl-C. Python would flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 0
    except (RelevoError, ValueError) as why:
        print(f"relevo: {why}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m relevo")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tail = commands.add_parser("tail", help="print channels as messages come", description=DESCRIPTION)
    tail.add_argument(
        "channels",
        nargs="+",
        metavar="CHANNEL",
        help="the channels to print, like tasks dashboard:kpis",
    )
    tail.add_argument("--url", help="the server, like ws://127.0.0.1:8002; default: RELEVO_URL")
    tail.add_argument("--token", help="default: RELEVO_TOKEN")
    tail.add_argument("--after", metavar="EPOCH:OFFSET", help="go on from there; it is printed at the end")
    tail.add_argument("--count", type=int, metavar="N", help="end after this many messages")
    tail.add_argument("--json", action="store_true", help="print each message as one JSON object a line")
    return parser


async def _tail(client: Client, as_json: bool, count: int | None) -> int:
    task = asyncio.ensure_future(_print(client, as_json, count))
    loop = asyncio.get_running_loop()
    # Windows has no such handlers; there Ctrl-C is a KeyboardInterrupt.
    with contextlib.suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 0


async def _print(client: Client, as_json: bool, count: int | None) -> None:
    left = count
    async with client:
        try:
            while left is None or left > 0:
                item = await anext(client)
                # A gap was logged when it came.
                if isinstance(item, Message):
                    print(_line(item, as_json), flush=True)
                    left = None if left is None else left - 1
        finally:
            logging.getLogger("relevo").info("stopped at %s", client.position)


def _line(message: Message, as_json: bool) -> str:
    if as_json:
        return json.dumps(message.to_dict(), ensure_ascii=False, separators=(",", ":"))
    fields = message.to_dict()
    words = [fields["timestamp"], message.channel, f"{message.type}/{message.event_type}"]
    if message.key is not None:
        words.append(message.key)
    words += [name for name in ("deleted", "late", "recovered") if name in fields]
    words.append(json.dumps(message.data, ensure_ascii=False, separators=(",", ":")))
    return " ".join(words)
