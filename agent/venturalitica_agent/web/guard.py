"""What stands before every page: whose request it is, from where, and what a browser may do with the answer.

For pages: `login`, `logged_out`, `csrf_token`, `form` and `login_kind`. The middleware reads the body of a POST and
checks its token before any route sees it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from venturalitica_agent.web.access import Access

SESSION = "vl_session"
_VISITOR = "vl_visitor"
_FIELD, _HEADER = "csrf", "x-csrf-token"
_SHOWN_TO_ALL = ("/healthz", "/readyz", "/login")
_LIFE = 12 * 3600.0
_LARGEST_FORM = 16 << 10
_TRIES, _TRIES_OF_ALL, _WINDOW = 10, 100, 60.0  # by one address, by all, within seconds
_SECURITY = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Keeper:
    """Signs and knows sessions, and counts wrong logins. Safe from several threads."""

    def __init__(self, access: Access, key: bytes) -> None:
        self.access = access
        self._key = key
        self._tries: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def session(self) -> str:
        """A new session as its cookie holds it. It ends with the token or the users that it was given for."""
        about = f"{int(time.time() + _LIFE)}.{secrets.token_urlsafe(16)}"
        return f"{about}.{self._sign('session', about + self._generation())}"

    def knows(self, cookie: str) -> bool:
        about, _, signature = cookie.rpartition(".")
        end, _, _ = about.partition(".")
        genuine = hmac.compare_digest(signature.encode(), self._sign("session", about + self._generation()).encode())
        return genuine and int(end) > time.time()

    def csrf(self, visitor: str) -> str:
        return self._sign("csrf", visitor)

    def admits(self, address: str, given: Mapping[str, str]) -> bool | None:
        """Whether these fields open the page; None: too many were wrong lately, so nobody looks."""
        with self._lock:
            now = time.monotonic()
            while self._tries and now - self._tries[0][0] > _WINDOW:
                self._tries.popleft()
            own = sum(who == address for _, who in self._tries)
            if own >= _TRIES or len(self._tries) >= _TRIES_OF_ALL:
                return None
            tried = (now, address)
            self._tries.append(tried)  # counted before it is checked, so that many at a time are counted too
        good = self.access.is_token(given.get("token", "")) or (
            bool(self.access.users) and self.access.is_user(given.get("user", ""), given.get("password", ""))
        )
        if good:
            with self._lock, suppress(ValueError):
                self._tries.remove(tried)
        return good

    def _generation(self) -> str:
        plain = repr((self.access.token, sorted(self.access.users.items())))
        return hashlib.sha256(plain.encode()).hexdigest()

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}\0{text}".encode(), "sha256").hexdigest()


# -- for pages --------------------------------------------------------------------------------------------------------
def form(request: HTTPConnection) -> Mapping[str, str]:
    """The fields of a POST, whose CSRF token was good."""
    fields: Mapping[str, str] = request.scope.get("venturalitica.form", {})
    return fields


def csrf_token(request: HTTPConnection) -> str:
    """The value of the hidden field `csrf` of every form on this visitor's pages."""
    return _keeper(request).csrf(request.scope["venturalitica.visitor"])


def login_kind(request: HTTPConnection) -> str:
    """What the login form asks for: "users" (fields `user` and `password`), "token" (field `token`), or "": nothing."""
    access = _keeper(request).access
    return "users" if access.users else "token" if access.token else ""


def logged_in(request: HTTPConnection) -> bool:
    """Whether this reader has a session (and so may log out)."""
    return _has_session(request, _keeper(request))


def login(request: HTTPConnection, given: Mapping[str, str]) -> Response:
    """Log in by the fields `token`, or `user` and `password`, and go on to `next`.

    The answer is a redirect with the session's cookie, or has status 403 (wrong) or 429 (too many tries) and a sentence
    as its body, to be shown in the form.
    """
    keeper = _keeper(request)
    good = keeper.admits(request.client.host if request.client else "", given)
    if good is None:
        return PlainTextResponse("Too many wrong tries: wait a minute.", 429, {"retry-after": str(int(_WINDOW))})
    if not good:
        return PlainTextResponse("That is not right.", 403)
    answer = RedirectResponse(_local(given.get("next", "")), 303)
    _set(answer, request, SESSION, keeper.session())
    return answer


def logged_out(request: HTTPConnection) -> Response:
    """End the session of this browser."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(SESSION, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return answer


# -- the middleware ---------------------------------------------------------------------------------------------------
class Guard:
    """ASGI middleware; refuses before any route is asked.

    Args:
        host: the name that is listened on; on loopback no other name than this machine's is answered, so that no page
            of elsewhere can reach us by a name that it lets point here.
    """

    def __init__(self, app: ASGIApp, keeper: Keeper, host: str) -> None:
        self._app = app
        self._keeper = keeper
        self._names = {"localhost", "127.0.0.1", "::1", host.strip("[]").lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = HTTPConnection(scope)
        visitor = request.cookies.get(_VISITOR, "")
        new = not (visitor.isascii() and 16 <= len(visitor) <= 64)
        scope["venturalitica.keeper"] = self._keeper
        scope["venturalitica.visitor"] = visitor = secrets.token_urlsafe(24) if new else visitor
        refused, receive = self._refused(request), receive
        if refused is None and scope["method"] not in ("GET", "HEAD"):
            refused, receive = await self._checked_form(Request(scope, receive))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
                if new and headers.get("content-type", "").startswith("text/html"):
                    headers.append("set-cookie", _cookie(request, _VISITOR, visitor))
            await send(message)

        await (refused or self._app)(scope, receive, guarded)

    def _refused(self, request: HTTPConnection) -> Response | None:
        """Why a request gets no answer of ours, as a response; None when it gets one."""
        path, access = request.url.path, self._keeper.access
        if access.loopback and not self._is_ours(request.headers):
            return PlainTextResponse("This page answers only under this machine's own names.", 421)
        if not access.asks or path in _SHOWN_TO_ALL or path.startswith("/static/"):
            return None
        if path == "/metrics" and access.loopback:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and access.is_token(given.strip()):
            return None
        if _has_session(request, self._keeper):
            return None
        if path.startswith(("/api/", "/metrics")):
            told = {"what": "who asks is not known", "subject": "", "remedy": "send `Authorization: Bearer <token>`"}
            return JSONResponse(told, 401, {"www-authenticate": "Bearer"})
        return RedirectResponse(f"/login?next={quote(path + _query(request), safe='')}", 303)

    def _is_ours(self, headers: Headers) -> bool:
        try:
            return (urlsplit(f"//{headers.get('host', '')}").hostname or "") in self._names
        except ValueError:
            return False

    async def _checked_form(self, request: Request) -> tuple[Response | None, Receive]:
        """Read the body of a form and check its token."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST_FORM:
                return PlainTextResponse("The form is too large.", 413), _nothing
        is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        try:
            fields = dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50)) if is_form else {}
        except ValueError:
            return PlainTextResponse("The form can't be read.", 400), _nothing
        given = request.headers.get(_HEADER) or fields.get(_FIELD, "")
        known = request.cookies.get(_VISITOR, "")
        if not known or not hmac.compare_digest(given.encode(), self._keeper.csrf(known).encode()):
            why = "This form is not from a page of this service, or is too old: load the page again."
            return PlainTextResponse(why, 403), _nothing
        request.scope["venturalitica.form"] = fields
        return None, _nothing


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _keeper(request: HTTPConnection) -> Keeper:
    keeper: Keeper = request.scope["venturalitica.keeper"]
    return keeper


def _has_session(request: HTTPConnection, keeper: Keeper) -> bool:
    return keeper.knows(request.cookies.get(SESSION, ""))


def _query(request: HTTPConnection) -> str:
    return f"?{request.url.query}" if request.url.query else ""


def _local(target: str) -> str:
    """A path of ours to go on to; the overview in the place of anything else."""
    plain = target.startswith("/") and not target.startswith("//") and "\\" not in target and target.isprintable()
    return target if plain else "/"


def _set(answer: Response, request: HTTPConnection, name: str, value: str) -> None:
    answer.headers.append("set-cookie", _cookie(request, name, value))


def _cookie(request: HTTPConnection, name: str, value: str) -> str:
    secure = "; Secure" if request.url.scheme == "https" else ""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}"
