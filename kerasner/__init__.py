"""Named entity recognition for Keras and TensorFlow that serves from raw strings."""

from kerasner._compat import check_backend
from kerasner._version import __version__

check_backend()

from kerasner import components, configs, layers, losses, metrics  # noqa: E402
from kerasner.network import NerNetwork  # noqa: E402
from kerasner.pretrained import pretrained  # noqa: E402
from kerasner.registry import register  # noqa: E402
from kerasner.tagger import Entity, Tagger  # noqa: E402
from kerasner.training import evaluate_model, train_model  # noqa: E402

__all__ = [
    "Entity",
    "NerNetwork",
    "Tagger",
    "__version__",
    "components",
    "configs",
    "evaluate_model",
    "layers",
    "losses",
    "metrics",
    "pretrained",
    "register",
    "train_model",
]
