"""Several things at once, without groups of exceptions."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def together(*parts: Coroutine[Any, Any, T]) -> list[T]:
    """Run all, and give what they return.

    The first error cancels the others, waits for them, and is raised as itself, not in a group.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def first_to_end(*parts: Coroutine[Any, Any, object]) -> None:
    """Run all until one returns or raises; the others are cancelled and waited for."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
