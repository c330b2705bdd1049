"""An aiohttp application at a real port of this machine, beside the test."""

import asyncio
import http.client
import json
import threading
import types
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from kerasner.serving.server import rest
from kerasner.serving.server.batching import Batcher
from kerasner.serving.server.metrics import Metrics
from kerasner.serving.server.models import Models
from kerasner.serving.server.prediction import Predictor
from kerasner.serving.server.sources import Source


class Answer(NamedTuple):
    """What came back: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A server that runs until the `with` that gave it ends."""

    def __init__(self, port: int, loop: asyncio.AbstractEventLoop):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._loop = loop

    def ask(
        self, method: str, path: str, body: bytes | dict | None = None, **headers: str
    ) -> Answer:
        """Sends one request over a connection of its own; a dict is sent as JSON."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def run(self, coroutine: Coroutine) -> Any:
        """Has the server's event loop run something."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)


@contextmanager
def serving(build: Callable[[], Coroutine[Any, Any, web.Application]]):
    """Runs the application that `build` makes in the event loop of the server's thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(
            await build(), access_log=None, handler_cancellation=True, shutdown_timeout=1
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, runner.addresses[0][1]

    try:
        runner, port = asyncio.run_coroutine_threadsafe(start(), loop).result(120)
        try:
            yield Server(port, loop)
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def serving_small(base: Path) -> AbstractContextManager[Server]:
    """Runs the REST API with the model "small", whose version 1 is also called stable."""

    async def build() -> web.Application:
        models = Models([Source("small", base, labels={"stable": 1})])
        await models.update()
        metrics = Metrics()
        settings = types.SimpleNamespace(
            rest_max_bytes=100_000, rest_timeout=30.0, max_queue_bytes=1_000_000
        )
        return rest.application(models, Predictor(Batcher(metrics)), metrics, settings)

    return serving(build)
