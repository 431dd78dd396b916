"""A queue that is fair between clients: who has had a turn waits for everybody else's."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First come, first served within a client; between clients in turns."""

    def __init__(self) -> None:
        self.lines: dict[str, deque[Item]] = {}  # in the order of their next turns
        self.filled = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self.lines.values()))

    def put(self, client: str, item: Item) -> None:
        """Join the queue."""
        self.lines.setdefault(client, deque()).append(item)
        self.filled.set()

    async def get(self) -> Item:
        """The next item, once there is one."""
        while not self.lines:
            self.filled.clear()
            await self.filled.wait()
        client, line = next(iter(self.lines.items()))
        del self.lines[client]
        item = line.popleft()
        if line:
            self.lines[client] = line  # behind all others
        return item

    def remove(self, item: Item) -> None:
        """Leave the queue; nothing happens where the item is not in it."""
        for client, line in list(self.lines.items()):
            if item in line:
                line.remove(item)
                if not line:
                    del self.lines[client]

    def of(self, client: str) -> int:
        """How many items of a client are waiting."""
        return len(self.lines.get(client, ()))

    def before(self, item: Item) -> int:
        """How many items have their turn before this one, as things stand."""
        order: list[Item] = []
        lines = [list(line) for line in self.lines.values()]
        for turn in range(max(map(len, lines), default=0)):
            order += [line[turn] for line in lines if turn < len(line)]
        return order.index(item) if item in order else 0
