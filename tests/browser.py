"""Headless Chromium, driven over its DevTools protocol with aiohttp's WebSocket client."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
_FLAGS = (
    "--headless --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-port=0"
).split()
_PATIENCE = 60  # seconds


class Browser:
    """One page in a browser of its own, without anything of the user's.

    Example:

    ```python
    with Browser() as browser:
        browser.open("http://127.0.0.1:8501/", width=390)
        browser.click("button")
    ```
    """

    def __enter__(self) -> "Browser":
        self._folder = tempfile.mkdtemp()
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [CHROMIUM, *_FLAGS, *root, f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        self._number = 0
        self.console: list[str] = []
        self.requests: list[str] = []
        try:
            self._loop.run_until_complete(self._connect())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_session"):
            self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.terminate()
        self._process.wait(_PATIENCE)
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, method: str, **parameters: Any) -> dict:
        """Sends a command; gives its result."""
        return self._loop.run_until_complete(self._send(method, parameters))

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a page in a window of that size and waits until it is loaded."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=url)
        self.wait_for(f"document.readyState === 'complete' && location.href === {url!r}")

    def run(self, script: str) -> Any:
        """Value of an expression in the page."""
        found = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Waits until an expression holds."""
        end = time.monotonic() + _PATIENCE
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition}; the console says {self.console}")
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """A click of the mouse at the middle of an element."""
        x, y = self.run(
            f"""(() => {{
                const element = document.querySelector({selector!r});
                element.scrollIntoView({{block: "center"}});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Replaces what a text box holds."""
        self.run(f"document.querySelector({selector!r}).select()")
        self.click(selector)
        self.run(f"document.querySelector({selector!r}).select()")
        self.send("Input.insertText", text=text)

    def press(self, key: str, code: int, control: bool = False) -> None:
        """A key of the keyboard; `code` is its virtual-key code."""
        for kind in ("rawKeyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=2 if control else 0,
            )

    def screenshot(self, path: str | os.PathLike) -> None:
        """Writes a picture of the whole page."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(found["data"]))

    async def _connect(self) -> None:
        place = Path(self._folder, "DevToolsActivePort")
        end = time.monotonic() + _PATIENCE
        while not (place.is_file() and "\n" in place.read_text()):
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError("Chromium did not start")
            await asyncio.sleep(0.02)
        port = place.read_text().splitlines()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = await answer.json(content_type=None)
        (page,) = [target for target in targets if target["type"] == "page"]
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._send(f"{domain}.enable", {})

    async def _send(self, method: str, parameters: dict) -> dict:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = json.loads(await self._socket.receive_str(timeout=_PATIENCE))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def _note(self, event: dict) -> None:
        if event["method"] == "Log.entryAdded":
            self.console.append(event["params"]["entry"]["text"])
        elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.console.append(json.dumps(event["params"])[:500])
        elif event["method"] == "Network.requestWillBeSent":
            self.requests.append(event["params"]["request"]["url"])
