"""A real nginx in front of the service, wired with the output of `mailapi config nginx`.

Only what a test must have otherwise is changed in it: the ports, the certificate, and the time-outs
where a test waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from restapi import DOMAIN, Api, alias, domain
from yarl import URL

from mailapi import serverconfig

HOST = "mail.example.test"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MAIN = """\
daemon off;
user root;
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
    default_type application/octet-stream;
    access_log off;
    gzip on;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {root}/mailapi.conf;
}}
"""


@pytest.fixture(autouse=True)
def _needs_nginx() -> None:
    if NGINX is None:
        pytest.skip("needs nginx: apt-get install nginx-light")


class Front:
    """nginx before a service; `send` returns status, headers and body."""

    def __init__(self, api: Api, root: Path, limit: str) -> None:
        self.api, self.root = api, root
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "12"]
            self.plain, self.tls = (each.getsockname()[1] for each in sockets)
        server = api.config.server.model_copy(update={"port": api.port})
        text = serverconfig.nginx(api.config.model_copy(update={"server": server}))
        for old, new in {
            "    listen [::]:80;\n": "",
            "    listen [::]:443 ssl;\n": "",
            "listen 80;": f"listen 127.0.0.1:{self.plain};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.tls} ssl;",
            f"/etc/letsencrypt/live/{HOST}/fullchain.pem": f"{root}/cert.pem",
            f"/etc/letsencrypt/live/{HOST}/privkey.pem": f"{root}/key.pem",
            " 10s;": f" {limit};",
            " 20s;": f" {limit};",
        }.items():
            assert old in text
            text = text.replace(old, new)
        (root / "mailapi.conf").write_text(text)
        (root / "nginx.conf").write_text(MAIN.format(root=root))
        certificate(root)
        self.context = ssl.create_default_context(cafile=str(root / "cert.pem"))

    def command(self, *more: str) -> list[str]:
        log = str(self.root / "error.log")
        return [NGINX or "", "-p", str(self.root), "-e", log, "-c", "nginx.conf", *more]

    async def send(
        self, method: str, path: str, plain: bool = False, source: str = "127.0.0.1", **more: Any
    ) -> tuple[int, Any, bytes]:
        scheme, port = ("http", self.plain) if plain else ("https", self.tls)
        headers = {"Host": HOST} | more.pop("headers", {})
        connector = aiohttp.TCPConnector(local_addr=(source, 0))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method,
                URL(f"{scheme}://127.0.0.1:{port}{path}", encoded=True),
                headers=headers,
                ssl=self.context,
                server_hostname=None if plain else HOST,
                allow_redirects=False,
                **more,
            ) as answer,
        ):
            return answer.status, answer.headers, await answer.read()

    def key(self, **fields: Any) -> dict[str, str]:
        secret = self.api.key(**fields).secret if fields else self.api.secret
        return {"Authorization": f"Bearer {secret}"}


def certificate(root: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    out = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names, *out], cwd=root, check=True, capture_output=True)


@contextlib.asynccontextmanager
async def running(front: Front) -> AsyncIterator[Front]:
    """nginx answers inside, as a child of ours."""
    child = await asyncio.create_subprocess_exec(*front.command(), stdin=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while True:
                assert child.returncode is None, (front.root / "error.log").read_text()
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", front.tls), 1).close()
                    break
                await asyncio.sleep(0.01)
        yield front
    finally:
        child.terminate()
        await child.wait()


@pytest.fixture
async def service(start: Any) -> Api:
    """It trusts nginx, and all clients of the tests as well."""
    return await start(server__hostname=HOST, server__trusted_proxies='["127.0.0.0/8"]')


@pytest.fixture
async def front(service: Api, tmp_path: Path) -> AsyncIterator[Front]:
    (tmp_path / "nginx").mkdir()
    async with running(Front(service, tmp_path / "nginx", "10s")) as front:
        yield front


@pytest.fixture
async def hurried(service: Api, tmp_path: Path) -> AsyncIterator[Front]:
    """An nginx that waits for a client for a second."""
    (tmp_path / "nginx").mkdir()
    async with running(Front(service, tmp_path / "nginx", "1s")) as front:
        yield front


def test_the_configuration_is_good(service: Api, tmp_path: Path) -> None:
    """`nginx -t` has nothing to say against it."""
    front = Front(service, tmp_path, "10s")
    done = subprocess.run(front.command("-t"), capture_output=True, text=True)
    assert done.returncode == 0
    assert "[warn]" not in done.stderr + (tmp_path / "error.log").read_text()


async def test_everything_is_served(front: Front) -> None:
    """The API, its documentation and the password page are there, over TLS."""
    status, headers, _ = await front.send(
        "POST", "/api/v1/domains", json=DOMAIN, headers=front.key()
    )
    assert (status, headers["Location"]) == (201, "/api/v1/domains/example.com")
    assert "max-age" in headers["Strict-Transport-Security"]
    for path in (
        "/api/v1/docs",
        "/api/v1/docs/swagger-ui.css",
        "/api/v1/openapi.json",
        "/password",
    ):
        assert (await front.send("GET", path))[0] == 200
    status, headers, _ = await front.send("GET", "/.well-known/change-password")
    assert (status, headers["Location"]) == (302, "/password")
    assert (await front.send("GET", "/api/v1/domains"))[0] == 401


async def test_the_form_is_the_pages_own(front: Front) -> None:
    """A browser's Origin is the Host that the service is told."""
    form = {"email": "ann@example.com", "current": "wrong", "new": "x" * 9, "repeated": "x" * 9}
    origins = {f"https://{HOST}": "is wrong", "https://evil.example": "another site"}
    for origin, said in origins.items():
        answer = await front.send("POST", "/password", data=form, headers={"Origin": origin})
        assert answer[0] == 403
        assert said.encode() in answer[2]


@pytest.mark.parametrize("path", ["/password", "/api/v1/domains?limit=1", "//evil.example/x"])
async def test_without_tls(front: Front, path: str) -> None:
    """Over HTTP there is nothing but the way to HTTPS, on this host."""
    status, headers, _ = await front.send("GET", path, plain=True)
    assert (status, headers["Location"]) == (301, f"https://{HOST}{path}")
    evil = {"Host": "evil.example"}
    _, headers, _ = await front.send("GET", path, plain=True, headers=evil)
    assert headers["Location"].startswith(f"https://{HOST}/")


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "//metrics",
        "/%6detrics",
        "/api/v1/../../metrics",
        "/api/v1/%2e%2e/%2e%2e/metrics",
        "/api/v1/..%2f..%2fmetrics",
        "/api/v1/%252e%252e/%252e%252e/metrics",
        "/password/../metrics",
        "/password/metrics",
        "/",
        "/index.html",
    ],
)
async def test_what_is_not_passed_on(front: Front, path: str) -> None:
    """The numbers for Prometheus are not reached, however the path is written."""
    status, _, body = await front.send("GET", path, headers=front.key())
    assert status in (400, 404)
    assert b"mailapi_" not in body


async def test_one_client_address(front: Front) -> None:
    """The service sees the client that nginx sees, and nothing of what the client writes."""
    near = front.key(name="near", scope="read", allow_from=["127.0.0.5"])
    assert (await front.send("GET", "/api/v1/status", source="127.0.0.5", headers=near))[0] == 200
    for name in ("X-Forwarded-For", "x_forwarded_for", "Forwarded", "X-Real-IP", "Client-IP"):
        for value in ("127.0.0.5", "127.0.0.5, 127.0.0.1", "for=127.0.0.5"):
            forged = near | {name: value}
            answer = await front.send("GET", "/api/v1/status", source="127.0.0.6", headers=forged)
            assert answer[0] == 403, name
            answer = await front.send(
                "GET", "/api/v1/status", source="127.0.0.5", headers=near | {name: "192.0.2.1"}
            )
            assert answer[0] == 200, name


@pytest.mark.parametrize(("size", "status"), [(9_000_000, 413), (8_000_000, 400)])
async def test_large_bodies(front: Front, size: int, status: int) -> None:
    """What is larger than the service takes ends at nginx; what is not, reaches the service."""
    key = front.key() | {"Content-Type": "application/json"}
    body = io.BytesIO(b" " * size)
    found, headers, _ = await front.send("POST", "/api/v1/domains", data=body, headers=key)
    assert found == status
    assert ("X-Request-Id" in headers) == (status == 400)


async def test_long_lists(front: Front) -> None:
    """A streamed list arrives whole."""
    await front.api.made("/domains", domain(aliases=5000))
    for turn in range(2):
        bodies = [alias(f"a{turn}-{n}@example.com", "x@far.example") for n in range(1000)]
        batch = [{"method": "POST", "path": "/aliases", "body": body} for body in bodies]
        assert (await front.api.post("/batch", batch)).status == 200
    direct = await front.api.get("/aliases")
    status, headers, body = await front.send("GET", "/api/v1/aliases", headers=front.key())
    assert (status, headers["X-Total-Count"], body) == (200, "2000", direct.raw)


SLOW = {
    "nothing": b"",
    "half a head": b"GET /api/v1/healthz HTTP/1.1\r\nHost: x\r\n",
    "half a body": b"POST /api/v1/domains HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "idle": b"GET /api/v1/healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", SLOW)
async def test_slow_clients(hurried: Front, kind: str) -> None:
    """nginx hangs up on a client that sends nothing, no whole head, no whole body, nothing more."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", hurried.tls, ssl=hurried.context, server_hostname=HOST
    )
    writer.write(SLOW[kind])
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(8):
            await reader.read(-1)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
