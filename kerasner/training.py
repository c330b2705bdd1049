"""Training and evaluating from a configuration."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasner import bio, registry, storage
from kerasner import config as configuration
from kerasner.chainer import Chainer
from kerasner.checkpoint import Progress, fingerprint
from kerasner.config import check_number
from kerasner.data import pipeline
from kerasner.data.conll import Conll2003Reader
from kerasner.data.iterator import DataLearningIterator
from kerasner.errors import ArchiveError, ConfigError, DataError
from kerasner.losses import CRFLoss
from kerasner.pretrained import archives
from kerasner.tagger import Tagger

Config = Mapping[str, Any] | str | os.PathLike

_LOG = logging.getLogger(__name__)

registry.register("conll2003_reader")(Conll2003Reader)
registry.register("data_learning_iterator")(DataLearningIterator)


class TrainSettings:
    """The group "train" of a configuration.

    Args:
        epochs: at most.
        batch_size: sentences a batch.
        validation_patience: stop after so many epochs without a better validation F1; 0: never.
        train_on_valid: train on the parts train and valid together. Nothing is left to choose an
            epoch by: training runs for all `epochs` and keeps the last.
        seed: of initial weights, order and dropout; None: another run each time.
        tensorboard_log_dir: folder for TensorBoard (needs the extra kerasner[tensorboard]).
    """

    def __init__(
        self,
        epochs: int = 100,
        batch_size: int = 10,
        validation_patience: int = 7,
        train_on_valid: bool = False,
        seed: int | None = None,
        tensorboard_log_dir: str | None = None,
    ):
        for name, value, least in (
            ("epochs", epochs, 1),
            ("batch_size", batch_size, 1),
            ("validation_patience", validation_patience, 0),
        ):
            check_number(f"train.{name}", value, least, whole=True)
        if not isinstance(train_on_valid, bool):
            raise ConfigError(
                f"train.train_on_valid: expected true or false, received {train_on_valid!r}"
            )
        if seed is not None:
            check_number("train.seed", seed, 0, 2**32 - 1, whole=True)
        if tensorboard_log_dir is not None and not isinstance(tensorboard_log_dir, str):
            raise ConfigError(
                f"train.tensorboard_log_dir: expected a folder, received {tensorboard_log_dir!r}"
            )
        self.epochs = epochs
        self.batch_size = batch_size
        self.validation_patience = validation_patience
        self.train_on_valid = train_on_valid
        self.seed = seed
        self.tensorboard_log_dir = tensorboard_log_dir


def train_model(
    config: Config,
    settings: Iterable[str] = (),
    verbose: int = 1,
    data: DataLearningIterator | None = None,
) -> Tagger:
    """Trains the model of a configuration, keeps the best epoch and saves it to its `save_path`.

    A run that was killed goes on from its last whole epoch when it is started again: weights,
    optimizer, best score and patience included.

    Args:
        config: a dict, the path of a JSON file, or the name of an installed configuration.
        settings: changes of the form "path.to.key=value".
        verbose: as of `keras.Model.fit`.
        data: the data set, as `read_data` gives it; None: it is read.

    Returns:
        The trained tagger.

    Raises:
        kerasner.errors.KerasnerError: a wrong configuration or data set, before training starts.

    Example: `train_model("ner_conll2003", ["dataset_reader.data_path=conll2003"])`
    """
    resolved = _resolved(config, settings)
    train = _component(TrainSettings, resolved.get("train", {}), "train")
    save_path = _save_path(resolved)
    storage.check_writable(save_path.parent)
    storage.check_replaceable(save_path)
    _check_tensorboard(train)
    data = data or _read(resolved)
    for part in ("train", "valid"):
        if not data.instances(part)[0]:
            raise DataError(f"the data set has no {part} part; training needs train and valid")
    if train.seed is not None:
        keras.utils.set_random_seed(train.seed)

    tagger = fit_pipeline(resolved, data, train.train_on_valid)
    chainer = tagger.chainer
    parts = {
        part: pipeline.encoded(*data.instances(part), chainer.encode, chainer.tag_vocab)
        for part in ("train", "valid")
    }
    learnt, validation = parts["train"], pipeline.evaluation_batches(parts["valid"])
    if train.train_on_valid:
        learnt, validation = learnt.concatenate(parts["valid"]), None
    batches = pipeline.training_batches(learnt, train.batch_size, train.seed)
    steps = int(batches.cardinality())
    tagger.model.compile(chainer.ner.optimizer(steps), CRFLoss())
    progress = Progress(
        save_path.with_name(f"{save_path.name}.training"),
        fingerprint(resolved, [data.instances(part) for part in ("train", "valid")]),
        validation,
        patience=train.validation_patience,
        moving_average=chainer.ner.moving_average,
    )
    progress.prepare(tagger.model)
    callbacks = [progress]
    if train.tensorboard_log_dir:
        callbacks.append(keras.callbacks.TensorBoard(train.tensorboard_log_dir))
    if not progress.finished:
        tagger.model.fit(
            batches,
            epochs=train.epochs,
            initial_epoch=progress.epochs_done,
            callbacks=callbacks,
            shuffle=False,
            verbose=verbose,
        )
    progress.restore_best()
    tagger.save(save_path)
    progress.clear()
    measured = f" of validation F1 {100 * progress.best:.2f}" if validation is not None else ""
    _LOG.info("saved the model%s to %s", measured, save_path)
    return tagger


def build_model(config: Config, settings: Iterable[str] = ()) -> Tagger:
    """Loads the model of a configuration: the one that training left in its `save_path`.

    Where there is none yet, it is the model that comes with kerasner under the configuration's
    name.

    Raises:
        kerasner.errors.KerasnerError: a wrong configuration, or no model.
    """
    resolved = _resolved(config, settings)
    return _load(config, resolved)


def evaluate_model(config: Config, settings: Iterable[str] = ()) -> dict[str, bio.Report]:
    """Evaluates the model of a configuration, the one that `build_model` loads.

    Returns:
        Reports of the parts "valid" and "test", as far as the data set has them.
    """
    resolved = _resolved(config, settings)
    return evaluate(_load(config, resolved), _read(resolved))


def evaluate(tagger: Tagger, data: DataLearningIterator) -> dict[str, bio.Report]:
    """Reports of the parts "valid" and "test", as far as the data set has them."""
    samples = {part: list(zip(*data.instances(part), strict=True)) for part in ("valid", "test")}
    return {part: tagger.evaluate(rows) for part, rows in samples.items() if rows}


def read_data(config: Config, settings: Iterable[str] = ()) -> DataLearningIterator:
    """The data set of a configuration."""
    return _read(_resolved(config, settings))


def _resolved(config: Config, settings: Iterable[str]) -> dict[str, Any]:
    changed = configuration.override(configuration.load(config), settings)
    for group in ("dataset_reader", "chainer"):
        if group not in changed:
            raise ConfigError(f"the configuration has no group {group!r}")
    return configuration.resolve(changed)


def _read(config: Mapping[str, Any]) -> DataLearningIterator:
    reader_settings = dict(config["dataset_reader"])
    reader_class = _class(reader_settings, "dataset_reader", "read")
    if reader_settings.get("provide_pos"):
        raise ConfigError(
            "dataset_reader.provide_pos: no pipeline reads parts of speech yet; expected false"
        )
    # A reader's settings are the arguments of its `read`.
    registry.check_parameters(reader_class().read, reader_settings, "dataset_reader")
    data = reader_class().read(**reader_settings)
    iterator_settings = dict(config.get("dataset_iterator", {}))
    iterator_settings.setdefault("class_name", "data_learning_iterator")
    iterator_class = _class(iterator_settings, "dataset_iterator", "instances")
    return _component(iterator_class, {"data": data, **iterator_settings}, "dataset_iterator")


def _class(settings: dict[str, Any], where: str, method: str) -> type:
    if "class_name" not in settings:
        raise ConfigError(f"{where}: expected class_name")
    name = settings.pop("class_name")
    found = registry.get(name, f"{where}.class_name")
    if not hasattr(found, method):
        raise ConfigError(
            f"{where}.class_name: expected a class with {method!r}, received {name!r}"
        )
    return found


def _component(component_class: type, settings: Mapping[str, Any], where: str) -> Any:
    registry.check_parameters(component_class, settings, where)
    return component_class(**settings)


def _save_path(config: Mapping[str, Any]) -> Path:
    for entry in config["chainer"].get("pipe", []):
        if isinstance(entry, Mapping) and entry.get("class_name") == "ner":
            if entry.get("save_path"):
                return configuration.user_path(str(entry["save_path"])).absolute()
            raise ConfigError("chainer.pipe (ner): save_path is needed, the folder of the model")
    raise ConfigError("chainer.pipe: expected one ner, found 0")


def _load(config: Config, resolved: Mapping[str, Any]) -> Tagger:
    folder = _save_path(resolved)
    if os.path.isfile(folder / storage.CONFIG_FILE):
        _LOG.info("using the model in %s", folder)
        return Tagger.load(folder)
    own_place = _save_path(configuration.resolve(configuration.load(config)))
    if config in archives.names() and folder == own_place:
        _LOG.info("using the model %s that comes with kerasner", config)
        return archives.pretrained(config)
    raise ArchiveError(f"{folder}: no model here yet; expected a trained one, see kerasner train")


def fit_pipeline(
    config: dict[str, Any], data: DataLearningIterator, on_valid: bool = False
) -> Tagger:
    """A tagger whose vocabularies are fitted to a data set; its network is not trained.

    Args:
        config: resolved.
        data: its tags are those of the parts train and valid.
        on_valid: whether the words of the part valid are used too.
    """
    sentences, tags = data.instances("train")
    more_sentences, more_tags = data.instances("valid")
    # A tag that the validation part alone has needs an id as well.
    tags = tags + more_tags
    if on_valid:
        sentences = sentences + more_sentences
    flat = {
        "x": tf.constant([token for sentence in sentences for token in sentence]),
        "y": tf.constant([tag for row in tags for tag in row]),
    }
    return Tagger(Chainer(config["chainer"], data=flat), _portable(config))


def _portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a saved model keeps of its configuration: no path of the machine that trained it."""
    pipe = [
        {key: value for key, value in entry.items() if key not in ("load_path", "save_path")}
        for entry in config["chainer"]["pipe"]
    ]
    train = {k: v for k, v in config.get("train", {}).items() if k != "tensorboard_log_dir"}
    return {"chainer": {**config["chainer"], "pipe": pipe}, "train": train}


def _check_tensorboard(train: TrainSettings) -> None:
    if not train.tensorboard_log_dir:
        return
    storage.check_writable(Path(train.tensorboard_log_dir))
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise ConfigError(
            "train.tensorboard_log_dir needs TensorBoard: pip install kerasner[tensorboard]"
        ) from None
