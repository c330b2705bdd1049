"""Named entity recognition for Keras and TensorFlow that serves from raw strings."""

import sys
from pathlib import Path, PurePath

from kerasner._version import __version__

# In a source checkout the configurations lie beside the package, installed they lie inside it.
if not (Path(__file__).parent / "configs").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

# The command line alone imports TensorFlow later, where a verb needs it. Everywhere else everything
# is imported at once: Keras can load a saved layer only after its class was imported.
_PROGRAM = sys.argv[0] if sys.argv else ""
if _PROGRAM == "-m":  # Python looks for the module still
    _PROGRAM = sys.orig_argv[-len(sys.argv)]

if PurePath(_PROGRAM).stem != "kerasner":
    from kerasner._compat import check_backend

    check_backend()

    from kerasner import components, configs, layers, losses, metrics
    from kerasner.network import NerNetwork
    from kerasner.pretrained import pretrained
    from kerasner.registry import register
    from kerasner.tagger import Entity, Tagger
    from kerasner.training import build_model, evaluate_model, train_model

__all__ = [
    "Entity",
    "NerNetwork",
    "Tagger",
    "__version__",
    "build_model",
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
