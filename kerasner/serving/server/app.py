"""The server as a whole: ports, start, and an end that loses no request."""

import asyncio
import dataclasses
import errno
import logging
import signal
import socket
import ssl
import sys
from pathlib import Path
from time import monotonic

import grpc
from aiohttp import web

from kerasner.errors import ConfigError
from kerasner.serving.server import rest, sources
from kerasner.serving.server.batching import Batcher
from kerasner.serving.server.export_cache import base_folder
from kerasner.serving.server.grpc_services import Health, add_services
from kerasner.serving.server.metrics import Metrics
from kerasner.serving.server.models import Models, collect_garbage
from kerasner.serving.server.prediction import Predictor
from kerasner.serving.server.status import ServingError

_SWITCH_INTERVAL = 0.0005  # seconds
_FLUSH = 1.0  # seconds for answers to leave, once all are computed
_DRAIN_POLL = 0.02  # seconds
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_LOG = logging.getLogger(__name__)
_HTTP_LOG = logging.getLogger(f"{__name__}.http")
_HTTP_LOG.setLevel(logging.CRITICAL)  # else whatever is no HTTP writes a traceback


@dataclasses.dataclass(frozen=True)
class Settings:
    """The flags of `kerasner serve`; see its help.

    Attributes:
        models: name of each model -> its folder, or the name of one that comes with kerasner.
    """

    models: dict[str, Path | str] = dataclasses.field(default_factory=dict)
    model_config_file: Path | None = None
    host: str = "localhost"
    port: int = 8500
    rest_port: int | None = None
    poll_seconds: float = 1.0
    workers: int = 2
    batching: bool = True
    max_batch_size: int = 256
    max_batch_tokens: int = 8192
    batch_timeout_micros: int = 0
    max_queue_requests: int = 1024
    max_queue_bytes: int = 2**26
    max_request_rows: int = 4096
    max_request_cells: int = 2**22
    max_row_tokens: int = 20_000
    max_message_bytes: int = 2**22
    rest_max_bytes: int = 2**22
    rest_timeout: float = 30.0
    grace: float = 30.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None


class Server:
    """A server in the running event loop.

    Args:
        settings: of which the ports are bound at once.

    Attributes:
        port, rest_port: that it listens on, once it was started.

    Raises:
        kerasner.errors.ConfigError: a port is taken, or a file of TLS is no such file.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.port = 0
        self.rest_port: int | None = None
        self.models: Models | None = None
        self._tls = _tls(settings)
        self._batcher: Batcher | None = None
        self._predictor: Predictor | None = None
        self._grpc: grpc.aio.Server | None = None
        self._health: Health | None = None
        self._runner: web.AppRunner | None = None
        self._watching: asyncio.Future | None = None

    async def start(self) -> None:
        """Returns when all models answer; health checks are answered before.

        Raises:
            kerasner.errors.KerasnerError: a port is taken, or a model cannot be loaded.
        """
        settings = self.settings
        self._bind_grpc()
        rest_sockets = []
        if settings.rest_port is not None:
            rest_sockets = _listen(settings.host, settings.rest_port)
            self.rest_port = rest_sockets[0].getsockname()[1]
        found = await asyncio.to_thread(_sources, settings)
        self.models = Models(found, settings.poll_seconds)
        metrics = Metrics()
        metrics.watch_versions(lambda: self.models.available)
        self._batcher = Batcher(
            metrics,
            workers=settings.workers,
            max_batch_size=settings.max_batch_size,
            max_batch_tokens=settings.max_batch_tokens,
            timeout_micros=settings.batch_timeout_micros,
            max_queue_requests=settings.max_queue_requests,
            max_queue_bytes=settings.max_queue_bytes,
            enabled=settings.batching,
        )
        self._predictor = Predictor(
            self._batcher,
            settings.max_request_rows,
            settings.max_request_cells,
            settings.max_row_tokens,
        )
        self._health = add_services(self._grpc, self.models, self._predictor, metrics)
        await self._health.set(False)
        await self._grpc.start()
        if rest_sockets:
            await self._start_rest(rest_sockets, metrics)
        await self.models.update()
        if not self.models.ready:
            raise ConfigError(_not_ready(self.models))
        await asyncio.to_thread(collect_garbage)
        self._watching = asyncio.gather(self.models.watch(), self._watch_config())
        await self._health.set(True)

    async def stop(self, grace: float) -> None:
        """Refuses new requests, waits for those under way, and closes the ports.

        Args:
            grace: seconds that requests may still take.
        """
        if self._watching:
            self._watching.cancel()
        if self._health:
            await self._health.servicer.enter_graceful_shutdown()
        if self._predictor:
            self._predictor.draining = True
            end = monotonic() + grace
            while self._predictor.active and monotonic() < end:
                await asyncio.sleep(_DRAIN_POLL)
        if self._grpc:
            await self._grpc.stop(_FLUSH)
        if self._runner:
            await self._runner.cleanup()
        if self._batcher:
            self._batcher.close()
        if self.models:
            self.models.close()

    async def _watch_config(self) -> None:
        """Serves what the configuration file says, whenever it changes; a wrong one is told."""
        path, seconds = self.settings.model_config_file, self.settings.poll_seconds
        stamp = _stamp(path)
        while path and seconds:
            await asyncio.sleep(seconds)
            previous, stamp = stamp, await asyncio.to_thread(_stamp, path)
            if stamp in (previous, None):
                continue
            try:
                wanted = sources.read_config(path)
                self.models.allow(wanted)  # unlike a request, the operator may name any folder
                await self.models.reload(wanted)
                _LOG.info("%s was read again", path)
            except (ConfigError, ServingError) as error:
                _LOG.warning("%s has changed and is not in effect: %s", path, error)

    def _bind_grpc(self) -> None:
        settings = self.settings
        self._grpc = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # or a second server would share the port silently
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
            ],
            # Beside the queue some are being read or written, and some ask for the health.
            maximum_concurrent_rpcs=2 * settings.max_queue_requests + 64,
        )
        for taken in _listen(settings.host, settings.port):  # gRPC would not say what is wrong
            taken.close()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{host}:{settings.port}"
        if self._tls is None:
            self.port = self._grpc.add_insecure_port(address)
        else:
            ca = settings.tls_client_ca
            credentials = grpc.ssl_server_credentials(
                [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
                ca.read_bytes() if ca else None,
                require_client_auth=ca is not None,
            )
            self.port = self._grpc.add_secure_port(address, credentials)

    async def _start_rest(self, sockets: list[socket.socket], metrics: Metrics) -> None:
        application = rest.application(self.models, self._predictor, metrics, self.settings)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_HTTP_LOG,
            handler_cancellation=True,
            shutdown_timeout=_FLUSH,
        )
        await self._runner.setup()
        for place in sockets:
            await web.SockSite(self._runner, place, ssl_context=self._tls).start()


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT; prints a line when all models answer.

    Raises:
        kerasner.errors.KerasnerError: a port is taken, or a model cannot be loaded.
    """
    # A thread that comes back from TensorFlow would wait up to 5 ms for a busy event loop.
    sys.setswitchinterval(_SWITCH_INTERVAL)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = Server(settings)
    ending = asyncio.ensure_future(ended.wait())
    starting = asyncio.ensure_future(server.start())
    try:
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            print(_ready(server), flush=True)
            await ending
            _LOG.info("ending: requests under way may take %g seconds", settings.grace)
    finally:
        starting.cancel()
        ending.cancel()
        await asyncio.wait({starting})
        await server.stop(settings.grace)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes with a file's content; None if there is none."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size)


def _sources(settings: Settings) -> list[sources.Source]:
    if settings.model_config_file is not None:
        return sources.read_config(settings.model_config_file)
    return [sources.Source(name, base_folder(model)) for name, model in settings.models.items()]


def _ready(server: Server) -> str:
    host, scheme = server.settings.host, "http" if server._tls is None else "https"
    ports = [f"gRPC on {host}:{server.port}"]
    if server.rest_port is not None:
        ports.append(f"REST on {scheme}://{host}:{server.rest_port}")
    models = [
        f"{name} version {', '.join(map(str, versions))}"
        for name, versions in server.models.available.items()
    ]
    return f"ready: {', '.join(ports)}: {'; '.join(models)}"


def _not_ready(models: Models) -> str:
    missing = [name for name, versions in models.available.items() if not versions]
    return "; ".join(f"cannot serve {name}: {models.failure(name)}" for name in missing)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    cert, key, ca = settings.tls_cert, settings.tls_key, settings.tls_client_ca
    if cert is None and key is None and ca is None:
        return None
    if cert is None or key is None:
        raise ConfigError("TLS takes both --tls-cert and --tls-key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
        if ca is not None:
            context.load_verify_locations(ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(path) for path in (cert, key, ca) if path)
        raise ConfigError(f"cannot use {files} for TLS: {error}") from error
    return context


def _listen(host: str, port: int) -> list[socket.socket]:
    """Sockets on all addresses of a host, on one port; 0 finds a free one.

    Raises:
        kerasner.errors.ConfigError: the port is taken, or there is no such host.
    """
    listening: list[socket.socket] = []
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for number, (family, *_, address) in enumerate(infos, 1):
            try:
                place = socket.create_server((address[0], port, *address[2:]), family=family)
            except OSError as error:
                # "localhost" may have an address of IPv6 where there is no IPv6.
                if error.errno not in _NO_SUCH_ADDRESS or (number == len(infos) and not listening):
                    raise
                continue
            listening.append(place)
            port = place.getsockname()[1]
    except OSError as error:
        for place in listening:
            place.close()
        raise ConfigError(
            f"cannot listen on port {port} of {host!r}: {error.strerror or error}"
        ) from error
    return listening
