"""Ask clients of Prefect's server to wait while its SQLite database is busy, instead of failing their runs.

On a busy machine a writer can wait for the lock longer than the minute that Prefect allows. Its server then answers
503; the worker gives up after six attempts, and the run that it was about to start is Crashed.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

RETRY_SECONDS = 2
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class BusyDatabase:
    """An ASGI application whose answers with status 503 get the headers by which Prefect's clients wait without limit.

    Only for SQLite: Prefect answers 503 where the database is locked, and a lock ends with its process. A database
    server may be away for good.
    """

    app: Any
    retry_seconds: int = RETRY_SECONDS

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                # "Maintenance" is Prefect's word for an attempt that does not count.
                wait = [(b"retry-after", b"%d" % self.retry_seconds), (b"prefect-maintenance", b"true")]
                message = {**message, "headers": [*message.get("headers", ()), *wait]}
            await send(message)

        await self.app(scope, receive, send_with_headers)
