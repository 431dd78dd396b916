"""A queue that is fair between clients: they take turns, whoever has put in the most."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First in, first out for one client; round robin between clients."""

    def __init__(self) -> None:
        self.by_client: dict[str, deque[Item]] = {}  # in the order of their next turns
        self.filled = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self.by_client.values()))

    def put(self, client: str, item: Item) -> None:
        """Add an item of a client."""
        self.by_client.setdefault(client, deque()).append(item)
        self.filled.set()

    async def get(self) -> Item:
        """Remove and return the next item; waits until there is one."""
        while not self.by_client:
            self.filled.clear()
            await self.filled.wait()
        client, items = next(iter(self.by_client.items()))
        del self.by_client[client]
        item = items.popleft()
        if items:
            self.by_client[client] = items  # behind all others
        return item

    def remove(self, item: Item) -> None:
        """Remove an item; does nothing where it is not in the queue."""
        for client, items in list(self.by_client.items()):
            if item in items:
                items.remove(item)
                if not items:
                    del self.by_client[client]

    def count(self, client: str) -> int:
        """Number of waiting items of a client."""
        return len(self.by_client.get(client, ()))

    def order(self) -> list[Item]:
        """All items in the order of their turns, if no more come."""
        clients = [list(items) for items in self.by_client.values()]
        turns = range(max(map(len, clients), default=0))
        return [items[turn] for turn in turns for items in clients if turn < len(items)]
