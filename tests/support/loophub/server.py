"""The HTTP side of the loopback Hub: a thread that reads requests, looks up the route, writes the answer."""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from tests.support.loophub.state import Fault, Faults, HubError, Repo
from tests.support.loophub.transfer import Blobs


class Logged(NamedTuple):
    method: str
    path: str
    status: int


@dataclass
class Request:
    hub: LoopHub
    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: bytes

    @cached_property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()

    def user(self) -> str | None:
        """Who asks; None for an anonymous request.

        Raises:
            HubError: 401 for a token that nobody has.
        """
        if not self.token:
            return None
        if self.token not in self.hub.users:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.users[self.token]

    def login(self) -> str:
        name = self.user()
        if name is None:
            raise HubError(401, "Invalid username or password.")
        return name

    def repo(self, repo_type: str, repo_id: str, *, write: bool = False, read: bool = False) -> Repo:
        """The repository that a path names; ``repo_type`` in the plural, as in paths. Of a gated one everybody sees the
        listing, and those who may ``read`` its files.

        Raises:
            HubError: 401 or 404 for what is missing or hidden, 403 for a namespace that is not the user's.
        """
        name = self.login() if write else self.user()
        repo = self.hub.repos.get((repo_type.rstrip("s"), repo_id))
        if repo is None or (repo.private and name is None):
            raise HubError(404 if name else 401, "Repository not found", "RepoNotFound")
        if read and repo.gated and repo_id.split("/")[0] not in (name, *self.hub.organizations):
            message = f"Access to {repo_type.rstrip('s')} {repo_id} is restricted"
            raise HubError(403 if name else 401, message, "GatedRepo")
        if write and repo_id.split("/")[0] not in (name, *self.hub.organizations):
            raise HubError(403, "You don't have the rights to write to this repository")
        return repo


@dataclass
class Response:
    body: Any = None
    status: int = 200
    headers: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None
    length: int | None = None


Route = Callable[..., Response]
_ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(methods: str, pattern: str) -> Callable[[Route], Route]:
    """Register a function for paths that match; the groups of the pattern are its arguments after the request."""

    def register(function: Route) -> Route:
        for method in methods.split():
            _ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class LoopHub:
    """The server. ``users`` maps tokens to names; everybody may write to ``organizations``."""

    def __init__(
        self,
        root: Path | None = None,
        *,
        users: dict[str, str] | None = None,
        organizations: tuple[str, ...] = ("org",),
        xet: bool = True,
    ) -> None:
        self.root = Path(root or tempfile.mkdtemp(prefix="loophub-"))
        self.users, self.organizations, self.xet = users or {"token": "me"}, organizations, xet
        self.repos: dict[tuple[str, str], Repo] = {}
        self.blobs = Blobs(self.root)
        self.faults = Faults()
        self.requests: list[Logged] = []
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail(
        self,
        method: str,
        path: str,
        status: int,
        *,
        times: int = 1,
        skip: int = 0,
        message: str = "injected failure",
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Answer the next matching requests with an error. ``{token}`` in the message becomes the caller's token."""
        self.faults.pending.append(Fault(method, path, status, times, skip, message, code, headers or {}))

    def damage(self, pattern: str) -> None:
        """Store a wrong first byte of every file whose path matches, from now on."""
        self.faults.damaged.append(pattern)

    def heal(self) -> None:
        """No more faults."""
        self.faults = Faults()

    @property
    def writes(self) -> list[Logged]:
        """The requests that may change something on a Hub (``paths-info`` is a POST that only reads)."""
        return [r for r in self.requests if r.method not in ("GET", "HEAD") and "/paths-info/" not in r.path]

    def dataset(self, repo_id: str) -> Repo:
        return self.repos["dataset", repo_id]

    def model(self, repo_id: str) -> Repo:
        return self.repos["model", repo_id]

    def __enter__(self) -> LoopHub:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: head and body apart would wait 40 ms for each other (Nagle's algorithm)
    hub: LoopHub

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are kept in ``hub.requests``; nothing is printed."""

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, request: Request) -> Response:
        try:
            self.hub.faults.check(request.method, request.path)
            for method, pattern, function in _ROUTES:
                if method == request.method and (match := pattern.fullmatch(request.path)):
                    return function(request, *match.groups())
            raise HubError(404, f"no such page: {request.path}")
        except HubError as error:
            message = error.message.replace("{token}", request.token)
            headers = {"X-Error-Message": message, **error.headers}
            headers |= {"X-Error-Code": error.code} if error.code else {}
            return Response({"error": message}, error.status, headers)

    def _handle(self) -> None:
        url = urlsplit(self.path)
        request = Request(self.hub, self.command, url.path, dict(parse_qsl(url.query)), self.headers, self._read_body())
        response = self._answer(request)
        self.hub.requests.append(Logged(self.command, self.path, response.status))
        body = response.raw
        if body is None:
            body = b"" if response.body is None else json.dumps(response.body).encode()
            response.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        try:
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, str(value))
            self.send_header("X-Request-Id", f"Root=1-{time.time_ns():x}")
            self.send_header("Content-Length", str(len(body) if response.length is None else response.length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        except BrokenPipeError:
            pass  # the client went away, as it does when it aborts an upload

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _handle


from tests.support.loophub import content, repos  # noqa: E402,F401  (registers the routes, which need the names above)
