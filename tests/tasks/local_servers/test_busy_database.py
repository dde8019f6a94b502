"""Prefect's own client waits for a busy database behind the middleware, and gives up without it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from prefect.client.base import PrefectHttpxAsyncClient
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.local_servers.busy_database import RETRY_SECONDS, BusyDatabase

BUSY_ANSWERS = 4


class Server:
    """An application that is busy some times, and then answers."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        self.requests += 1
        status = 503 if self.requests <= BUSY_ANSWERS else 200
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"%d" % status})


async def ask(app: Any) -> int:
    transport = httpx.ASGITransport(app=app)
    async with PrefectHttpxAsyncClient(transport=transport, base_url="http://server") as client:
        return (await client.post("/")).status_code


def test_the_client_waits_until_the_database_is_free() -> None:
    server = Server()
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        assert asyncio.run(ask(BusyDatabase(server, retry_seconds=0))) == 200
    assert server.requests == BUSY_ANSWERS + 1


def test_the_client_gives_up_without_the_headers() -> None:
    server = Server()
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(httpx.HTTPStatusError, match="503"),
    ):
        asyncio.run(ask(server))
    assert server.requests == 1


def test_only_answers_of_a_busy_database_are_changed() -> None:
    async def answers() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=BusyDatabase(Server()))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return [await client.get("/") for _ in range(BUSY_ANSWERS + 1)]

    *busy, free = asyncio.run(answers())
    for answer in busy:
        assert (answer.status_code, answer.text) == (503, "503")
        assert answer.headers["retry-after"] == str(RETRY_SECONDS)
        assert answer.headers["prefect-maintenance"] == "true"
        assert answer.headers["content-type"] == "text/plain"
    assert (free.status_code, free.text) == (200, "200")
    assert not {"retry-after", "prefect-maintenance"} & set(free.headers)
