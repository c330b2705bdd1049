"""The servers that a model can be served by: kerasner's own, and TensorFlow Serving if it is here.

`server` is each of them in turn, with two versions of the trained model and two labels.
"""

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from kerasner.serving import Client
from kerasner.serving.server import app

MODEL = "small"
BINARY = "tensorflow_model_server"
START = 120.0  # seconds


class Served(NamedTuple):
    """A server that runs.

    Attributes:
        address, rest_address: "host:port" of gRPC and of REST.
        folder: of the model's versions.
    """

    address: str
    rest_address: str
    folder: Path


def model_config(folder: Path, **labels: int) -> str:
    """All versions of the model, in TensorFlow Serving's format."""
    written = " ".join(
        f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()
    )
    return (
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{folder}" '
        f'model_platform: "tensorflow" model_version_policy {{ all {{}} }} {written} }} }}'
    )


@pytest.fixture(scope="session")
def versions(tagger, tmp_path_factory) -> Path:
    """The folder of two versions, the same but for their number."""
    folder = tmp_path_factory.mktemp("serving") / MODEL
    tagger.export(folder, 1)
    shutil.copytree(folder / "1", folder / "2")
    return folder


@pytest.fixture(scope="session", params=["embedded", BINARY])
def server(request, versions) -> Iterator[Served]:
    """Each server that can be run here."""
    if request.param == BINARY and not shutil.which(BINARY):
        pytest.skip(f"no {BINARY} on the PATH")
    config = versions.with_name("models.config")
    config.write_text(model_config(versions, stable=1, canary=2))
    start = _embedded if request.param == "embedded" else _tensorflow_model_server
    with start(config) as (port, rest_port):
        for version in (1, 2):
            with Client(f"localhost:{port}", MODEL, version=version) as client:
                client.wait_until_ready(START)
        yield Served(f"localhost:{port}", f"localhost:{rest_port}", versions)


@contextmanager
def _embedded(config: Path) -> Iterator[tuple[int, int]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def started() -> app.Server:
        server = app.Server(app.Settings(model_config_file=config, port=0, rest_port=0))
        await server.start()
        return server

    try:
        server = asyncio.run_coroutine_threadsafe(started(), loop).result(START)
        yield server.port, server.rest_port
        asyncio.run_coroutine_threadsafe(server.stop(1.0), loop).result(START)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def _tensorflow_model_server(config: Path) -> Iterator[tuple[int, int]]:
    ports = _free_ports(2)
    command = [
        BINARY,
        f"--port={ports[0]}",
        f"--rest_api_port={ports[1]}",
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    with config.with_name("server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield ports[0], ports[1]
    finally:
        process.terminate()
        process.wait()


def _free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [place.getsockname()[1] for place in taken]
    for place in taken:
        place.close()
    return ports
