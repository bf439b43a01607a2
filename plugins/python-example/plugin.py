"""A router in Python: tells the channel `items` what becomes of items. Made into a component by componentize-py.

It speaks the bare contract, wit/relevo.wit: a batch is one block of bytes, and spans that point into it.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Batch, Error_Poison, Event, Message, Messages, Span

CHANGE = 0
OPERATIONS = {0: "item_created", 1: "item_changed", 2: "item_deleted"}

# What this instance was told. A fresh instance is told again; what must stay belongs in `state`.
tables: list[str] = []


class Lifecycle(exports.Lifecycle):
    def init(self, setup) -> None:
        tables.clear()


class Route(exports.Route):
    def route(self, b: Batch) -> Messages:
        tables.extend(table.name for table in b.tables)
        out = Out()
        for index, event in enumerate(b.events):
            route(b.arena, index, event, out)
        return Messages(bytes(out.arena), out.items)


def route(arena: bytes, index: int, event: Event, out: "Out") -> None:
    # A kind or an operation that a later host knows is passed over.
    if event.kind != CHANGE or event.operation not in OPERATIONS or tables[event.table] != "items":
        return
    row = read(arena, event.after) or read(arena, event.before)
    title = json.loads(row).get("title") if row else None
    if not isinstance(title, str):
        # The event becomes a dead letter, and the others go on.
        raise Err(Error_Poison((index, "title: a text is wanted")))
    key = read(arena, event.key)
    out.send(index, "items", "item_event", OPERATIONS[event.operation], {"id": key, "title": title})


def read(arena: bytes, span: Span) -> str:
    return arena[span.start : span.start + span.len].decode()


class Out:
    """The messages of a batch."""

    def __init__(self) -> None:
        self.arena = bytearray()
        self.items: list[Message] = []

    def send(self, event: int, channel: str, kind: str, event_type: str, data: object) -> None:
        # Escapes for each letter beyond ASCII could make a large text too large for a message.
        data, write = json.dumps(data, ensure_ascii=False), self.write
        spans = write(channel), write(""), write(kind), write(event_type), write(data)
        self.items.append(Message(event, 0, *spans))

    def write(self, text: str) -> Span:
        start = len(self.arena)
        self.arena += text.encode()
        return Span(start, len(self.arena) - start)
