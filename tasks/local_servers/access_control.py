"""An ASGI middleware that lets only this user's own programs and browser reach a server on loopback.

Every process and every web page on a machine can reach a port of loopback. So each request must name this server as
its host (against DNS rebinding) and, where a browser sends an origin, as its origin (against other web pages). It must
also show the secret: in a header, as programs do; in the first message of a websocket, as Prefect's clients do; or by
a cookie, which a browser receives at the address that `steward up` prints.
"""

import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote

# The interfaces of ASGI.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]

LOGIN_PATH = "/open"
# They say that a server runs, and nothing else. Prefect's client reads them without its password.
HEALTH_PATHS = ("/api/health", "/health")
WEBSOCKET_PROTOCOL = "prefect"
POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1
HINT = "Open the address that `steward up` printed. In a browser that did so before, press Enter in the address bar."


@dataclass(frozen=True)
class Access:
    """What a server on a port demands: `auth_string` is USER:SECRET, `login_token` shows `start_page` in a browser."""

    port: int
    auth_string: str
    login_token: str | None = None
    start_page: str = "/"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def hosts(self) -> tuple[str, str]:
        return f"127.0.0.1:{self.port}", f"localhost:{self.port}"

    @property
    def cookie_name(self) -> str:
        # Cookies do not depend on the port: each server needs a name of its own.
        return f"steward_{self.port}"

    @property
    def cookie_value(self) -> str:
        """A value that only this server accepts, and only until it ends; the secret cannot be found from it."""
        text = f"{self.cookie_name} {self.login_token}"
        return hmac.new(self.auth_string.encode(), text.encode(), "sha256").hexdigest()

    def has_auth_string(self, authorization: str) -> bool:
        """Tell whether a header has the secret, as `Basic` (user and secret) or as `Bearer` (the secret)."""
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return _is_equal(credentials.strip(), self.auth_string.partition(":")[2])
        try:
            decoded = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and _is_equal(decoded, self.auth_string)

    def has_cookie(self, cookies: str) -> bool:
        """Tell whether a Cookie header has this server's cookie."""
        pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
        values = [value for name, _, value in pairs if name == self.cookie_name]
        return self.login_token is not None and any(_is_equal(value, self.cookie_value) for value in values)

    def is_login(self, token: str) -> bool:
        return self.login_token is not None and _is_equal(token, self.login_token)


class AccessControl:
    """Pass on to `app` what may reach it; answer everything else with 403 (host, origin) or 401 (no secret)."""

    def __init__(self, app: Application, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        method, path = scope.get("method", "GET"), scope["path"]
        if headers.get("host") not in self.access.hosts:
            await _refuse(scope, send, 403, f"expected the host {self.access.hosts[0]}")
        elif headers.get("origin", self.access.origin) != self.access.origin:
            await _refuse(scope, send, 403, f"expected the origin {self.access.origin}")
        elif headers["host"] != self.access.hosts[0] and _is_page(headers, path):
            # The UIs call 127.0.0.1, which is another host than `localhost` to a browser.
            await _redirect(send, self.access.origin, scope)
        elif scope["type"] == "http" and path == LOGIN_PATH:
            await self._log_in(scope, send)
        elif (method == "GET" and path in HEALTH_PATHS) or self._is_authenticated(headers):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket" and WEBSOCKET_PROTOCOL in scope.get("subprotocols", ()):
            await self.app(scope, self._with_first_message_checked(receive, send), send)
        else:
            await _refuse(scope, send, 401, HINT)

    def _is_authenticated(self, headers: Mapping[str, str]) -> bool:
        if self.access.has_auth_string(headers.get("authorization", "")):
            return True
        return _is_from_own_page(headers) and self.access.has_cookie(headers.get("cookie", ""))

    async def _log_in(self, scope: Mapping[str, Any], send: Send) -> None:
        """Give the browser the cookie for the token of the address, and show it the start page."""
        (token, *_) = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        if not self.access.is_login(token):
            await _refuse(scope, send, 401, "This address belongs to a `steward up` that has ended. " + HINT)
            return
        cookie = f"{self.access.cookie_name}={self.access.cookie_value}; Path=/; HttpOnly; SameSite=Strict"
        await _respond(
            send, 303, "", {"location": f"{self.access.origin}{self.access.start_page}", "set-cookie": cookie}
        )

    def _with_first_message_checked(self, receive: Receive, send: Send) -> Receive:
        """Wrap `receive`: the first message must be {"type": "auth", "token": USER:SECRET}, else it is the last."""
        is_authenticated = False

        async def receive_checked() -> Message:
            nonlocal is_authenticated
            message = await receive()
            if not is_authenticated and message["type"] == "websocket.receive":
                is_authenticated = _is_equal(_auth_token(message), self.access.auth_string)
                if not is_authenticated:
                    await send({"type": "websocket.close", "code": POLICY_VIOLATION})
                    return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}
            return message

        return receive_checked


def _is_from_own_page(headers: Mapping[str, str]) -> bool:
    """Tell whether a browser that sends fetch metadata says that the request is no other page's.

    Cookies are sent to and by all ports of a host, so a page of another server on this machine is of the same site.
    """
    site = headers.get("sec-fetch-site", "none")
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site in ("none", "same-origin") or (site == "same-site" and is_link)


def _auth_token(message: Message) -> str:
    """Return the token of an `auth` message of a websocket; empty if it is another message."""
    try:
        content = json.loads(message.get("text") or message.get("bytes") or "")
    except (ValueError, RecursionError):
        return ""
    is_auth = isinstance(content, dict) and content.get("type") == "auth"
    return str(content.get("token") or "") if is_auth else ""


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers by lower-case name; one that is sent twice gets the value of both, which matches nothing."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        separator = "; " if key == "cookie" else ", "
        headers[key] = f"{headers[key]}{separator}{text}" if key in headers else text
    return headers


def _is_equal(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on the position of a difference."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _is_page(headers: Mapping[str, str], path: str) -> bool:
    return path == LOGIN_PATH or headers.get("sec-fetch-mode") == "navigate"


async def _redirect(send: Send, origin: str, scope: Mapping[str, Any]) -> None:
    """Send a browser to the same address on another host."""
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    await _respond(send, 307, "", {"location": f"{origin}{quote(scope['path'])}{query}"})


async def _refuse(scope: Mapping[str, Any], send: Send, status: int, text: str) -> None:
    if scope["type"] == "http":
        await _respond(send, status, text)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await _respond(send, status, text, kind="websocket.http.response")
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})


async def _respond(
    send: Send,
    status: int,
    text: str,
    headers: Mapping[str, str] | None = None,
    kind: str = "http.response",
) -> None:
    body = text.encode()
    fields = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        # The address of the page that was left may contain a token.
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        **(headers or {}),
    }
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    await send({"type": f"{kind}.start", "status": status, "headers": encoded})
    await send({"type": f"{kind}.body", "body": body})
