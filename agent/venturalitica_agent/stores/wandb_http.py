"""Talking to a W&B server: GraphQL and file transfers with our own deadlines, limits and back-off.

The SDK's own client hides the headers that say how long to wait, has no deadline on downloads, checks no bytes and
keeps a process of its own alive. An idle daemon can't have any of that.
"""

from __future__ import annotations

import base64
import json
import netrc
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from venturalitica_agent.errors import PermanentError, RetryableError, StoreUnavailable, UntrustedInput
from venturalitica_agent.logging import clean
from venturalitica_agent.stores.naming import redacted
from venturalitica_agent.stores.wandb_wire import Basic, Nobody, cause, origin, seconds_of, signed

if TYPE_CHECKING:
    import requests

DEFAULT_URL = "https://api.wandb.ai"
_CONNECT, _READ = 10.0, 30.0  # seconds until a connection stands, and between two pieces of an answer
_TRANSFER = 900.0  # seconds for one file
_MOST_ANSWER = 64 << 20
_LONGEST_WAIT = 3600.0
_WORTH_WAITING = 3.0  # seconds for which a request rather waits than fails
_CHUNK = 1 << 20
_MOST_WORDS = 4096  # bytes of an error's answer that are looked at
_AGAIN = "it is tried again with growing pauses"
# source: the messages of graphql-js and gqlgen, which the servers of W&B are made with
_UNKNOWN = re.compile(
    r"cannot query field|unknown (argument|type|field)|is not defined (by|on|in)|unknown fragment", re.I
)


class NotAllowed(StoreUnavailable):
    """The server knows the key and refuses this to it."""


class NotUnderstood(PermanentError):
    """The server's GraphQL has no such field: it is of another age than this program."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key and where it was found; never shown."""

    value: str
    origin: str

    def __repr__(self) -> str:
        return f"Key(from {self.origin})"


def find_key(url: str, env: Mapping[str, str]) -> Key | None:
    """The API key for a server: `WANDB_API_KEY` (which `.env` may have set), else its machine in netrc."""
    given = env.get("WANDB_API_KEY", "").strip()
    if given:
        return Key(given, "WANDB_API_KEY")
    machine = urlsplit(url).netloc.rpartition("@")[2]
    places = [env["NETRC"]] if env.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for place in places:
        try:
            file = Path(place).expanduser()
            # Not `authenticators`: its answer for unknown machines is somebody else's password.
            found = netrc.netrc(file).hosts.get(machine)
        except (FileNotFoundError, RuntimeError):  # the latter: this user has no home
            continue
        except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
            raise StoreUnavailable(
                f"the file can't be read for the API key: {type(error).__name__}",
                subject=place,
                remedy="repair it (`wandb login` writes such a file), or set WANDB_API_KEY",
            ) from None  # the parser quotes what it stumbles over, which may be a key
        if found and found[2]:
            return Key(found[2], str(file))
    return None


def _basic(key: Key) -> str:
    return base64.b64encode(f"api:{key.value}".encode()).decode()


class WandbHttp:
    """One W&B server, seen with one key. Safe from several threads; shared by the projects on it.

    Args:
        url: the API's base URL. find: gives the key, asked again after a refusal, so that a new one is taken up.
    """

    def __init__(self, url: str, find: Callable[[], Key | None]) -> None:
        self.url = url.rstrip("/")
        self._find = find
        self._not_before = 0.0  # monotonic; the server asked for quiet until then
        self._local = threading.local()
        self._key: Key | None = None
        self._secrets: set[str] = set()  # never shown, also when a server quotes them

    @cached_property
    def shown(self) -> str:
        """The URL without credentials, for messages and logs."""
        return redacted(self.url)

    def key(self) -> Key:
        """The key in use. Raises StoreUnavailable when there is none."""
        key = self._key = self._key or self._find()
        if key is None:
            raise StoreUnavailable(
                "there is no API key for it",
                subject=self.shown,
                remedy="set WANDB_API_KEY in the environment or in the .env beside agent.yaml, or run `wandb login`",
            )
        self._secrets |= {key.value, _basic(key)}
        return key

    # -- GraphQL --------------------------------------------------------------------------------------------
    def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of a GraphQL answer.

        Raises:
            StoreUnavailable: the server is away, asks for quiet (`pause`), or doesn't take the key.
            NotAllowed: the key may not do this. PermanentError: the server doesn't understand the request.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "venturalitica-agent"}
        with self._request("POST", "/graphql", data=body, headers=headers) as answer:
            content = b"".join(self._pieces(answer, _MOST_ANSWER, 2 * _READ))
        try:
            document = json.loads(content)
            data, errors = document.get("data"), document.get("errors")
        except (ValueError, AttributeError, RecursionError) as error:
            raise self._away("answered with something that is not JSON") from error
        if errors:
            raise self._refused(errors)
        if not isinstance(data, dict):
            raise self._away("answered without data")
        return data

    # -- files ----------------------------------------------------------------------------------------------
    def download(self, url: str, destination: Path, limit: int) -> None:
        """Stream the file behind a URL that the server gave into `destination`."""
        with (
            self._request("GET", url) as answer,
            destination.open("wb") as target,
        ):
            for piece in self._pieces(answer, limit, _TRANSFER):
                target.write(piece)

    def read(self, url: str, limit: int = _MOST_ANSWER) -> bytes:
        """The bytes behind a URL that the server gave."""
        with self._request("GET", url) as answer:
            return b"".join(self._pieces(answer, limit, _TRANSFER))

    def upload(self, url: str, content: bytes, headers: Mapping[str, str]) -> None:
        """PUT bytes to an upload URL that the server gave."""
        digest = base64.b64encode(md5(content, usedforsecurity=False).digest()).decode()
        given = {"Content-MD5": digest} if "Content-MD5" not in headers else {}
        with self._request("PUT", url, data=content, headers={**given, **headers}):
            pass

    def _absolute(self, url: str) -> str:
        if url.startswith("/"):
            return f"{self.url}{url}"
        if origin(url)[0] not in ("http", "https"):
            raise UntrustedInput("the server names a file that is not behind http(s)", subject=url.split("?")[0][:200])
        return url

    def _ours(self, url: str) -> bool:
        """Whether it is the server that the key is for, and not a file host."""
        return origin(url) == origin(self.url)

    # -- one request ----------------------------------------------------------------------------------------
    @property
    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            import requests

            session = self._local.session = requests.Session()
            # A redirect gets no credentials, neither ours nor what netrc has for its host.
            session.rebuild_auth = lambda prepared, _: prepared.headers.pop("Authorization", None)  # type: ignore[method-assign]
        return session

    def _request(self, method: str, url: str, **given: Any) -> requests.Response:
        """An answer with a good status; its body is not read yet. `url` may be a path on the server."""
        import requests
        from urllib3.exceptions import HTTPError

        url = self._absolute(url)
        where = self._where(url)
        self._wait_for_quiet()
        # A signed address carries its own right, and storage refuses requests that come with two.
        who = Basic(_basic(self.key())) if self._ours(url) and not signed(url) else Nobody()
        try:
            answer = self._session.request(
                method, url, auth=who, timeout=(_CONNECT, _READ), stream=True, allow_redirects=method == "GET", **given
            )
        except requests.Timeout as error:
            raise self._away("did not answer in time", where=where) from error
        except (requests.RequestException, HTTPError, ValueError) as error:
            remedy = "check the network and WANDB_BASE_URL" if self._ours(url) else "check the network"
            raise self._away(f"can't be reached ({cause(error)})", remedy, where) from error
        pause = self._heed(answer)
        if answer.ok and answer.status_code < 300:
            return answer
        with answer:
            raise self._bad_status(answer, method, pause)

    def _pieces(self, answer: requests.Response, limit: int, seconds: float) -> Iterator[bytes]:
        """The body, at most `limit` bytes of it and for at most so many seconds."""
        from urllib3.exceptions import HTTPError

        deadline, left = time.monotonic() + seconds, limit
        where = self._where(answer.url)
        try:
            # Not `iter_content`: it waits until a chunk is full, however slowly it fills.
            while piece := answer.raw.read1(_CHUNK, decode_content=True):
                left -= len(piece)
                if left < 0:
                    raise UntrustedInput(f"is larger than {limit:,} bytes", subject=redacted(answer.url)[:300])
                if time.monotonic() > deadline:
                    raise self._away(f"takes longer than {seconds:.0f} s for one answer", where=where)
                yield piece
        except (HTTPError, OSError) as error:
            raise self._away(f"broke off in the middle of an answer ({cause(error)})", where=where) from error

    def _wait_for_quiet(self) -> None:
        pause = self._not_before - time.monotonic()
        if pause > _WORTH_WAITING:
            raise self._busy(pause)
        if pause > 0:
            time.sleep(pause)

    def _heed(self, answer: requests.Response) -> float:
        """For how many seconds the server wants quiet: it says so with a 429 or 503, or when all requests are used up;
        noted for all requests to come."""
        if answer.status_code not in (429, 503) and answer.headers.get("RateLimit-Remaining") != "0":
            return 0.0
        wait = seconds_of(answer.headers.get("Retry-After")) or seconds_of(answer.headers.get("RateLimit-Reset"))
        wait = min(wait, _LONGEST_WAIT)
        if wait and self._ours(answer.url):
            self._not_before = max(self._not_before, time.monotonic() + wait)
        return wait

    def _bad_status(self, answer: requests.Response, method: str, pause: float) -> Exception:
        status, ours = answer.status_code, self._ours(answer.url)
        where = self._where(answer.url)
        if status == 429:
            return self._busy(pause, where)
        if status >= 500 or status < 400 or status == 408:
            return self._away(f"answered {method} with HTTP {status}", where=where, pause=pause)
        if status in (401, 403) and not ours:
            return RetryableError(
                f"the file host refuses the address that the W&B server gave (HTTP {status})",
                subject=where,
                remedy="such addresses expire, so it is tried again with a new one; if that doesn't help, check this "
                "machine's clock and the bucket's rights",
            )
        if status == 401:
            origin, self._key = self.key().origin, None
            return StoreUnavailable(
                f"the API key from {origin} is refused (HTTP 401)",
                subject=self.shown,
                remedy="set a valid WANDB_API_KEY for this server in the environment or in .env; the authorize page of "
                "the W&B UI shows yours",
            )
        words = self._first_words(answer)
        if status == 403:
            return self._not_allowed(words)
        if status == 404 and method != "POST":
            return PermanentError("there is no such file on the server (HTTP 404)", subject=redacted(answer.url)[:300])
        kind = NotUnderstood if _UNKNOWN.search(words) else PermanentError
        return kind(
            f"the server refuses the request (HTTP {status}): {self._short(words)}",
            subject=where,
            remedy="check WANDB_BASE_URL; or this server is older than this program expects, and its log may say more",
        )

    def _first_words(self, answer: requests.Response) -> str:
        """What an error answer says, as far as it is short text or GraphQL errors."""
        content = b""
        try:
            for piece in self._pieces(answer, _MOST_ANSWER, _READ):
                content += piece
                if len(content) >= _MOST_WORDS:
                    break
        except RetryableError:
            return ""  # the status says enough
        try:
            document = json.loads(content)
            return "; ".join(str(e["message"]) for e in document["errors"][:3])
        except (ValueError, LookupError, TypeError, RecursionError):
            return content[:_MOST_WORDS].decode("utf-8", "replace")

    def _refused(self, errors: Any) -> Exception:
        said = errors[:3] if isinstance(errors, list) else [errors]
        words = "; ".join(str(e.get("message", e)) if isinstance(e, dict) else str(e) for e in said)
        if any(word in words.casefold() for word in ("permission", "not authorized", "forbidden", "unauthorized")):
            return self._not_allowed(words)
        if _UNKNOWN.search(words):
            return NotUnderstood(
                f"the server doesn't understand the request: {self._short(words)}",
                subject=self.shown,
                remedy="this server may be older than this program expects",
            )
        return RetryableError(
            f"the server could not do it: {self._short(words)}", subject=self.shown, remedy="it is tried a few times"
        )

    def _not_allowed(self, words: str) -> NotAllowed:
        said = f" ({self._short(words)})" if words else ""
        return NotAllowed(
            f"the API key from {self.key().origin} may not do this{said}",
            subject=self.shown,
            remedy="use the key of a member (or a service account) that may write to the project; "
            "a view-only key can't tag runs",
        )

    def _busy(self, pause: float, where: str = "") -> StoreUnavailable:
        return StoreUnavailable(
            f"limits our rate{f' and asks to wait {pause:.0f} s' if pause else ''}",
            subject=where or self.shown,
            remedy="nothing to do: it is tried again when the server allows it; a longer `poll:` asks less often",
            pause=pause,
        )

    def _away(self, what: str, remedy: str = "", where: str = "", pause: float = 0.0) -> StoreUnavailable:
        remedy = f"{remedy}; {_AGAIN}" if remedy else _AGAIN
        return StoreUnavailable(what, subject=where or self.shown, remedy=remedy, pause=pause)

    def _where(self, url: str) -> str:
        """Whose a URL is, for messages: the W&B server's, or a file host's; without the path, which may be a secret."""
        scheme, host, port = origin(url)
        return self.shown if self._ours(url) else f"{scheme}://{host}:{port}"

    def _short(self, words: str) -> str:
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return clean(" ".join(words.split()))[:300]
