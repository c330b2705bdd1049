"""Which models are served, from which folders and in which versions."""

import dataclasses
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from kerasner.errors import ConfigError

_PLATFORM = "tensorflow"
_HIGHEST_VERSION = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Source:
    """A model to be served.

    Attributes:
        name: that requests call it by.
        base: folder with a subfolder for each version, called by its number.
        latest: serve so many of the highest versions; 0: all.
        specific: serve just these, if any are named.
        labels: names of versions.
    """

    name: str
    base: Path
    latest: int = 1
    specific: frozenset[int] = frozenset()
    labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def folders(self) -> dict[int, Path]:
        """The versions that are there.

        Raises:
            OSError: the folder cannot be read.
        """
        return {
            int(place.name): place
            for place in self.base.iterdir()
            if place.name.isascii()
            and place.name.isdigit()
            and int(place.name) <= _HIGHEST_VERSION
            and place.is_dir()
        }

    def wanted(self, versions: set[int]) -> set[int]:
        """Those of the versions that are to be served."""
        if self.specific:
            return versions & self.specific
        return set(sorted(versions)[-self.latest :])  # [-0:] are all


def read_config(path: Path) -> list[Source]:
    """Reads a ModelServerConfig of TensorFlow Serving in text format.

    Raises:
        kerasner.errors.ConfigError: the file cannot be read, or says what cannot be done.
    """
    try:
        config = text_format.Parse(
            path.read_text(encoding="utf-8"), model_server_config_pb2.ModelServerConfig()
        )
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a ModelServerConfig as text: {error}") from error
    try:
        found = sources(config)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not found:
        raise ConfigError(f"{path}: expected a model_config_list with at least one config")
    return found


def sources(config: model_server_config_pb2.ModelServerConfig) -> list[Source]:
    """The models of a configuration.

    Raises:
        ValueError: it says what cannot be done.
    """
    if config.WhichOneof("config") == "custom_model_config":
        raise ValueError("expected a model_config_list, received a custom_model_config")
    found = [_source(model) for model in config.model_config_list.config]
    names = [source.name for source in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"expected a name for each model, received {sorted(twice)} twice")
    return found


def _source(model: model_server_config_pb2.ModelConfig) -> Source:
    if not model.name or not model.base_path:
        raise ValueError(f"expected a name and a base_path, received {str(model)!r:.200}")
    is_tensorflow = (model.model_platform or _PLATFORM) == _PLATFORM and (
        model.model_platform or model.model_type == model_server_config_pb2.TENSORFLOW
    )
    if not is_tensorflow:
        raise ValueError(
            f"{model.name}: expected model_platform: 'tensorflow', received "
            f"{model.model_platform!r}"
        )
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific" and not policy.specific.versions:
        raise ValueError(f"{model.name}: expected versions in the specific version policy")
    return Source(
        model.name,
        Path(model.base_path),
        0 if kind == "all" else policy.latest.num_versions or 1,
        frozenset(policy.specific.versions),
        dict(model.version_labels),
    )
