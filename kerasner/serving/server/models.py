"""Models that are kept up to date with their folders."""

import asyncio
import gc
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import grpc
import tensorflow as tf

from kerasner.serving.server.servable import DEFAULT_SIGNATURE, Servable, Signature
from kerasner.serving.server.sources import Source
from kerasner.serving.server.status import ServingError, invalid

__all__ = ["DEFAULT_SIGNATURE", "Models", "Servable", "Signature", "VersionStatus"]

_LOG = logging.getLogger(__name__)
_DRAIN_POLL = 0.05  # seconds
_MAX_COPIES = 4  # of a model under other names, by a reload


class VersionStatus(NamedTuple):
    """What is known of a version.

    Attributes:
        version: its number.
        state: a name of ModelVersionStatus.State, such as "AVAILABLE".
        code: of the error that it ended with, 0 if none.
        message: of the error.
    """

    version: int
    state: str
    code: int = 0
    message: str = ""


class _Model:
    """The versions of one model.

    Attributes:
        loaded: available versions.
        statuses: of all versions that are there.
        failed: fingerprints of the folders that could not be loaded.
    """

    def __init__(self, source: Source):
        self.source = source
        self.loaded: dict[int, Servable] = {}
        self.latest: Servable | None = None
        self.statuses: dict[int, VersionStatus] = {}
        self.failed: dict[int, list[tuple[str, int, int]]] = {}

    def change(self, version: int, servable: Servable | None) -> None:
        if servable is None:
            del self.loaded[version]
        else:
            self.loaded[version] = servable
        self.latest = self.loaded[max(self.loaded)] if self.loaded else None


class Models:
    """Loads new versions, warmed up, and unloads old ones that no request uses any longer.

    All methods belong to the event loop; loading is done in a thread.

    Args:
        sources: what to serve.
        poll_seconds: how often the folders are looked at; 0: only by `update`.

    Attributes:
        names: of the models.
    """

    def __init__(self, sources: Iterable[Source], poll_seconds: float = 1.0):
        self._models = {source.name: _Model(source) for source in sources}
        self._allowed = [model.source.base.resolve() for model in self._models.values()]
        self._poll_seconds = poll_seconds
        self._thread = ThreadPoolExecutor(1, "kerasner-loader")
        self._updating = asyncio.Lock()
        self._unloading: set[asyncio.Task] = set()

    @property
    def names(self) -> list[str]:
        return list(self._models)

    @property
    def ready(self) -> bool:
        """Every model has an available version."""
        return all(model.loaded for model in self._models.values())

    @property
    def available(self) -> dict[str, list[int]]:
        """The available versions of each model."""
        return {name: sorted(model.loaded) for name, model in self._models.items()}

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """The version that a request means: by number, by label, or else the latest.

        Raises:
            ServingError: NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        if not name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(name)
        version = self._version(model, version, label)
        found = model and (model.latest if version is None else model.loaded.get(version))
        if found is None:
            what = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            message = f"Servable not found for request: {what}"
            raise ServingError(grpc.StatusCode.NOT_FOUND, message)
        return found

    def statuses(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> list[VersionStatus]:
        """What is known of one version or of all, the highest first.

        Raises:
            ServingError: NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        model = self._models.get(name)
        version = self._version(model, version, label)
        known = model.statuses if model else {}
        if version is not None:
            if version not in known:
                message = f"Could not find version {version} of model {name}"
                raise ServingError(grpc.StatusCode.NOT_FOUND, message)
            return [known[version]]
        if not known:
            message = f"Could not find any versions of model {name}"
            raise ServingError(grpc.StatusCode.NOT_FOUND, message)
        return [known[number] for number in sorted(known, reverse=True)]

    def failure(self, name: str) -> str:
        """Why no version of a model could be loaded."""
        model = self._models[name]
        for version in sorted(model.failed, reverse=True):
            return f"version {version}: {model.statuses[version].message}"
        return f"{model.source.base} holds no folder of a version, such as 1"

    async def update(self) -> None:
        """Brings every model in line with its folder once."""
        async with self._updating:
            for model in list(self._models.values()):
                await self._update(model)

    async def watch(self) -> None:
        """Updates for ever, or never if it was made with 0 `poll_seconds`."""
        while self._poll_seconds:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self.update()
            except Exception:
                _LOG.exception("cannot look for new versions; trying again")

    def allow(self, sources: Iterable[Source]) -> None:
        """Lets `reload` read the folders of these too."""
        self._allowed += [source.base.resolve() for source in sources]

    async def reload(self, sources: list[Source]) -> None:
        """Serves other versions or labels, or less; returns when that is done.

        A request can cause this, so only folders given at the start, or allowed since, are read.

        Raises:
            ServingError: PERMISSION_DENIED for other folders, RESOURCE_EXHAUSTED for many names of
                one folder, FAILED_PRECONDITION for a label that
                would move to a version that is not available, UNKNOWN where a model cannot be
                loaded.
        """
        for source in sources:
            self._check(source)
        bases = [source.base.resolve() for source in sources]
        if any(bases.count(base) > _MAX_COPIES for base in bases):
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"expected at most {_MAX_COPIES} models of one base_path",
            )
        async with self._updating:
            previous, self._models = self._models, {}
            for source in sources:
                model = previous.get(source.name)
                if model is None or model.source.base.resolve() != source.base.resolve():
                    model = _Model(source)
                else:
                    del previous[source.name]
                model.source = source
                self._models[source.name] = model
            for model in previous.values():
                for version in list(model.loaded):
                    self._unload(model, version)
        await self.update()
        if missing := [name for name, model in self._models.items() if not model.loaded]:
            message = f"Some models did not become available: {{{', '.join(missing)}}}"
            raise ServingError(grpc.StatusCode.UNKNOWN, message)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _version(model: _Model | None, version: int | None, label: str | None) -> int | None:
        if not label:
            return version
        if model is None or label not in model.source.labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return model.source.labels[label]

    def _check(self, source: Source) -> None:
        try:
            place = source.base.resolve()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
            place = None
        if place is None or not any(map(place.is_relative_to, self._allowed)):
            raise ServingError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"base_path of model {source.name} lies outside of the folders that the server was "
                "started with",
            )
        model = self._models.get(source.name)
        for label, version in source.labels.items():
            known = model.source.labels.get(label) if model else None
            if known not in (None, version) and version not in model.loaded:
                raise ServingError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {source.name}, "
                    "which is not currently available for inference",
                )

    async def _update(self, model: _Model) -> None:
        try:
            folders = await self._in_thread(model.source.folders)
        except OSError as error:
            _LOG.info("cannot read %s: %s", model.source.base, error.strerror or error)
            return  # a folder that cannot be read is no order to stop
        wanted = model.source.wanted(set(folders))
        for version in sorted(wanted - set(model.loaded), reverse=True):
            await self._load(model, version, folders[version])
        if wanted & set(model.loaded) or not wanted:
            for version in set(model.loaded) - wanted:
                self._unload(model, version)
        for version in set(model.statuses) - set(folders):
            if model.statuses[version].state == "END":
                del model.statuses[version]
                model.failed.pop(version, None)

    async def _load(self, model: _Model, version: int, folder: Path) -> None:
        fingerprint = await self._in_thread(_fingerprint, folder)
        if model.failed.get(version) == fingerprint:
            return
        name = model.source.name
        model.statuses[version] = VersionStatus(version, "LOADING")
        try:
            servable = await self._in_thread(Servable, name, version, folder)
        except Exception as error:  # whatever is wrong with it, the server lives on
            code = error.error_code if isinstance(error, tf.errors.OpError) else None
            code = code or grpc.StatusCode.UNKNOWN.value[0]
            message = " ".join(str(error).split()) or type(error).__name__
            model.failed[version] = fingerprint
            model.statuses[version] = VersionStatus(version, "END", code, message[:1024])
            _LOG.error("cannot load version %s of %s: %s", version, name, message)
            return
        model.failed.pop(version, None)
        model.change(version, servable)
        model.statuses[version] = VersionStatus(version, "AVAILABLE")
        _LOG.info("serving version %s of %s", version, name)

    def _unload(self, model: _Model, version: int) -> None:
        servable = model.loaded[version]
        model.change(version, None)
        model.statuses[version] = VersionStatus(version, "UNLOADING")
        task = asyncio.ensure_future(self._unloaded(model, servable))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    async def _unloaded(self, model: _Model, servable: Servable) -> None:
        version = servable.version
        while servable.active:
            await asyncio.sleep(_DRAIN_POLL)
        del servable
        await self._in_thread(collect_garbage)
        if model.statuses[version].state == "UNLOADING":  # it may be wanted again meanwhile
            model.statuses[version] = VersionStatus(version, "END")
        _LOG.info("unloaded version %s of %s", version, model.source.name)

    async def _in_thread(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def collect_garbage() -> None:
    """Frees what a model left, and takes all that remains out of later collections.

    With TensorFlow's objects among them each would stop all requests for a tenth of a second.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _fingerprint(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files, which change while a version is being copied."""
    found = []
    for place in sorted(folder.rglob("*")):
        try:
            status = place.stat()
        except OSError:
            continue  # gone meanwhile
        found.append((str(place), status.st_size, status.st_mtime_ns))
    return found
