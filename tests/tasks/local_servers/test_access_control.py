"""What reaches a server behind `AccessControl`, and what is answered before it."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from tasks.local_servers.access_control import Access, AccessControl

ACCESS = Access(4200, "steward:s3cret", "t0ken", start_page="/#/?view=all")
OWN, COOKIE = "http://127.0.0.1:4200", f"{ACCESS.cookie_name}={ACCESS.cookie_value}"


async def answer_everyone(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
    """Stand behind the middleware: answer 200, or echo the messages of a websocket."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})
        return
    while (message := await receive())["type"] != "websocket.disconnect":
        reply = {"type": "websocket.accept"} if message["type"] == "websocket.connect" else dict(message)
        await send({**reply, "type": reply["type"].replace("receive", "send")})


def request(method: str, path: str, headers: Mapping[str, str], host: str = OWN) -> httpx.Response:
    encoded = [(name, value.encode("latin-1")) for name, value in headers.items()]

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=AccessControl(answer_everyone, ACCESS))
        async with httpx.AsyncClient(transport=transport, base_url=host) as client:
            return await client.request(method, path, headers=encoded)

    return asyncio.run(send())


def basic(text: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def websocket(
    messages: list[str], headers: Mapping[str, str], subprotocol: str = "prefect"
) -> list[dict[str, Any]]:
    """Return what a client receives that connects and sends the messages."""
    incoming: list[dict[str, Any]] = [{"type": "websocket.connect"}]
    incoming += [{"type": "websocket.receive", "text": text} for text in messages]
    incoming.append({"type": "websocket.disconnect"})
    received: list[dict[str, Any]] = []
    encoded = [(name.encode(), value.encode()) for name, value in {"host": OWN[7:], **headers}.items()]
    scope = {
        "type": "websocket",
        "path": "/api/events/out",
        "headers": encoded,
        "subprotocols": [subprotocol],
    }

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        received.append(dict(message))

    asyncio.run(AccessControl(answer_everyone, ACCESS)(scope, receive, send))
    return received


@pytest.mark.parametrize(
    "headers",
    [
        basic("steward:s3cret"),
        {"authorization": "Bearer s3cret"},
        {"cookie": COOKIE},
        {"cookie": f"other=1; {COOKIE}", "origin": OWN, "sec-fetch-site": "same-origin"},
        {"cookie": COOKIE, "sec-fetch-site": "none"},
        # A link in MLflow's UI to Prefect's.
        {
            "cookie": COOKIE,
            "sec-fetch-site": "same-site",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "document",
        },
    ],
)
def test_secret_lets_in(headers: dict[str, str]) -> None:
    assert request("POST", "/api/flows/filter", headers).text == "inside"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("steward:s3cre"),
        basic("s3cret"),
        basic(""),
        {"authorization": "Basic \xff\xff"},
        {"authorization": "Basic steward:s3cret"},
        {"authorization": "Bearer steward:s3cret"},
        {"authorization": "Bearer t0ken"},
        {"cookie": f"{ACCESS.cookie_name}=t0ken"},
        {"cookie": f"{ACCESS.cookie_name}={ACCESS.cookie_value}0"},
        {"cookie": COOKIE.replace("4200", "5000")},
        {"cookie": f"{Access(5000, ACCESS.auth_string, 't0ken').cookie_value}"},
        # Another server on this machine is of the same site, so a browser sends it the cookie.
        {"cookie": COOKIE, "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {
            "cookie": COOKIE,
            "sec-fetch-site": "same-site",
            "sec-fetch-mode": "navigate",
            "sec-fetch-dest": "iframe",
        },
        {"cookie": COOKIE, "sec-fetch-site": "cross-site"},
    ],
)
def test_request_without_the_secret_is_refused(headers: dict[str, str]) -> None:
    for method, path in (
        ("POST", "/api/flows/filter"),
        ("GET", "/"),
        ("GET", "/api/health/"),
        ("PUT", "/health"),
    ):
        response = request(method, path, headers)
        assert response.status_code == 401
        assert "`steward up` printed" in response.text


@pytest.mark.parametrize("path", ["/api/flows/filter", "/api/health", "/open?token=t0ken", "/"])
@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("http://evil.example:4200", {}),
        ("http://127.0.0.1.evil.example:4200", {}),
        ("http://127.0.0.1:5000", {}),
        ("http://127.0.0.1", {}),
        (OWN, {"origin": "http://evil.example"}),
        (OWN, {"origin": "null"}),
        (OWN, {"origin": "http://127.0.0.1:5000"}),
        (OWN, {"origin": f"{OWN}.evil.example"}),
    ],
)
def test_foreign_host_and_origin_are_refused_even_with_the_secret(
    path: str, host: str, headers: dict[str, str]
) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert request(method, path, {**headers, **basic("steward:s3cret")}, host).status_code == 403


def test_health_is_public() -> None:
    assert request("GET", "/api/health", {}).text == "inside"


def test_login_sets_a_cookie_and_shows_the_start_page() -> None:
    response = request("GET", "/open?token=t0ken", {})
    assert (response.status_code, response.headers["location"]) == (303, f"{OWN}/#/?view=all")
    assert response.headers["set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    assert (response.headers["cache-control"], response.headers["referrer-policy"]) == (
        "no-store",
        "no-referrer",
    )
    assert "s3cret" not in str(response.headers)


@pytest.mark.parametrize(
    "address", ["/open", "/open?token=", "/open?token=s3cret", "/open?token=%ff&token=t0ken"]
)
def test_wrong_login_sets_no_cookie(address: str) -> None:
    response = request("GET", address, {})
    assert response.status_code == 401
    assert "set-cookie" not in response.headers


def test_login_at_localhost_moves_to_the_address_that_the_pages_call() -> None:
    response = request("GET", "/open?token=t0ken", {}, "http://localhost:4200")
    assert (response.status_code, response.headers["location"]) == (307, f"{OWN}/open?token=t0ken")


def test_server_without_a_login_token_has_no_login() -> None:
    access = Access(4200, "steward:s3cret")
    assert not access.is_login("")
    assert not access.has_cookie(f"{access.cookie_name}={access.cookie_value}")


def test_first_message_of_a_websocket_may_have_the_secret() -> None:
    auth = json.dumps({"type": "auth", "token": "steward:s3cret"})
    sent = [message.get("text") for message in websocket([auth, "hello"], {})]
    assert sent == [None, auth, "hello"]


@pytest.mark.parametrize(
    "first",
    [
        "hello",
        "",
        "[" * 100_000,
        '{"type": "auth"}',
        '{"type": "auth", "token": "steward:wrong"}',
        '{"type": "auth", "token": "\\ud800"}',
        '{"type": "subscribe", "token": "steward:s3cret"}',
    ],
)
def test_websocket_without_the_secret_is_closed(first: str) -> None:
    auth = json.dumps({"type": "auth", "token": "steward:s3cret"})
    received = websocket([first, auth, "hello"], {})
    assert received == [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    ("headers", "subprotocol"), [({"origin": "http://evil.example"}, "prefect"), ({}, "other")]
)
def test_foreign_websocket_is_refused_before_it_opens(headers: dict[str, str], subprotocol: str) -> None:
    assert websocket([], headers, subprotocol) == [{"type": "websocket.close", "code": 1008}]


def test_websocket_of_the_own_page_needs_no_message() -> None:
    received = websocket(["hello"], {"cookie": COOKIE, "origin": OWN})
    assert [message.get("text") for message in received] == [None, "hello"]
