"""A real Chromium for tests, driven over its DevTools protocol; no library, no driver.

    async with Chromium(tmp_path) as browser:
        page = await browser.open("http://127.0.0.1:8080/password")
        await page.press("Tab")
        assert await page.run("document.activeElement.id") == "email"

It runs without a window, with an empty profile, and reaches this host only. `page.requests` are the
addresses that it asked for, `page.console` all that it has to complain about: exceptions, and what
a Content-Security-Policy forbade. Source: chromedevtools.github.io/devtools-protocol.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from pathlib import Path
from typing import Any, Self

import aiohttp

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-port=0",
    "--window-size=800,900",
]
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " ")}
SHIFT = 8


def missing() -> str | None:
    """Why there is no browser on this machine, or None."""
    return None if shutil.which("chromium") else "needs chromium"


class Chromium:
    """`directory` gets the profile."""

    def __init__(self, directory: Path) -> None:
        self._profile = directory / "profile"
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._process = await create_subprocess_exec(
            "chromium",
            *FLAGS,
            f"--user-data-dir={self._profile}",
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
        file = self._profile / "DevToolsActivePort"
        async with asyncio.timeout(30):
            while not file.exists() or "\n" not in file.read_text():
                assert self._process.returncode is None, "chromium has ended"
                await asyncio.sleep(0.02)
        self._session = aiohttp.ClientSession(f"http://127.0.0.1:{file.read_text().split()[0]}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await self._process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its children, which may still write

    async def open(self, url: str, **headers: str) -> Page:
        """A new tab that shows the address."""
        assert self._session
        async with self._session.put("/json/new?about:blank") as answer:
            where = (await answer.json())["webSocketDebuggerUrl"]
        page = Page(await self._session.ws_connect(where, max_msg_size=0))
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.send(f"{domain}.enable")
        await page.goto(url)
        return page


class Page:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loads = 0
        self.requests: list[str] = []
        self.console: list[str] = []
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        await self._socket.close()
        await self._reader

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said)
            else:
                self._note(said["method"], said["params"])

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loads += 1
        elif event == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif event == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.console.append(json.dumps(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.console.append(json.dumps(params["args"]))

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol; its result."""
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(30):
            said = await answer
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def goto(self, url: str) -> None:
        async with self.loading():
            said = await self.send("Page.navigate", url=url)
            assert "errorText" not in said, said

    @contextlib.asynccontextmanager
    async def loading(self, timeout: float = 30) -> Any:
        """What is done inside makes the browser load a page; it is there afterwards."""
        before = self._loads
        yield
        async with asyncio.timeout(timeout):
            while self._loads == before:
                await asyncio.sleep(0.01)

    async def run(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        said = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, script: str, timeout: float = 20) -> Any:
        """The first true value of an expression."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not (value := await self.run(script)):
                    await asyncio.sleep(0.02)
                return value
        raise TimeoutError(f"{script}: not within {timeout} s; {await self.text()}")

    async def text(self) -> str:
        return str(await self.run("document.body.innerText"))

    async def click(self, selector: str) -> None:
        """With a script, once the element is there."""
        chosen = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"!!{chosen}")
        await self.run(f"{chosen}.click()")

    async def press(self, key: str, modifiers: int = 0) -> None:
        code, text = KEYS[key]
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        typed = {"text": text} if text else {}
        await self.send("Input.dispatchKeyEvent", type="keyDown", **common, **typed)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def type(self, text: str) -> None:
        """Key by key, into what has the focus."""
        for char in text:
            await self.send("Input.dispatchKeyEvent", type="char", text=char)

    async def paste(self, text: str) -> None:
        """At once, into what has the focus."""
        await self.send("Input.insertText", text=text)

    async def dark(self, scheme: str = "dark") -> None:
        wish = {"name": "prefers-color-scheme", "value": scheme}
        await self.send("Emulation.setEmulatedMedia", features=[wish])

    async def size(self, width: int, height: int, mobile: bool = False) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    async def picture(self, file: Path) -> None:
        """Write what is seen as PNG."""
        said = await self.send("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(said["data"]))
