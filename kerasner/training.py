"""Training and evaluating from a configuration."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kerasner import calibration, recipe, storage, tokenization
from kerasner import config as configuration
from kerasner.chainer import Chainer
from kerasner.checkpoint import Progress, fingerprint
from kerasner.components import NerSvm
from kerasner.config import check_number
from kerasner.data import DataLearningIterator, pipeline
from kerasner.errors import ArchiveError, ConfigError, DataError
from kerasner.evaluation import Evaluation, Metric, Scorer, evaluation, event
from kerasner.losses import CRFLoss
from kerasner.nesting import inline
from kerasner.pipe import variables
from kerasner.pretrained import archives
from kerasner.recipe import Config
from kerasner.tagger import Tagger
from kerasner.train_settings import TrainSettings
from kerasner.transfer import transfer

_LOG = logging.getLogger(__name__)
_ENDLESS = 10**6  # epochs
_SHOWN = 10  # sentences of "show_examples"


def train_model(
    config: Config,
    settings: Iterable[str] = (),
    verbose: int = 1,
    data: DataLearningIterator | None = None,
    *,
    download: bool = False,
    recursive: bool = False,
    start_epoch_num: int = 0,
    tell: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Tagger:
    """Trains the model of a configuration, keeps the best weights and saves it to its `save_path`.

    A run that was killed goes on from its last whole epoch when it is started again: weights,
    optimizer, best score and patience included. Ctrl-C saves the best weights so far, if any were
    learnt; the run can be taken up all the same.

    Where `ner` has a `load_path` other than its `save_path`, the model there, or that which comes
    with kerasner by this name, gives the weights to start from.

    The scores of the model are calibrated on the part valid (see `kerasner.calibration`), unless
    `ner` has a `temperature` or there is no validation.

    Args:
        config: a dict, the path of a JSON file, or the name of an installed configuration.
        settings: changes of the form "path.to.key=value".
        verbose: as of `keras.Model.fit`.
        data: the data set, as `kerasner.recipe.read_data` gives it; None: it is read.
        download: whether to fetch the files of metadata.download first.
        recursive: as of DeepPavlov. Nested configurations are trained as parts of this one in any
            case.
        start_epoch_num: number of epochs that count as done, for their limit and the learning
            rate; of no account where a run is resumed.
        tell: called with DeepPavlov's reports in training, {"train": ...} and {"valid": ...}.

    Returns:
        The trained tagger.

    Raises:
        kerasner.errors.KerasnerError: a wrong configuration or data set, before training starts.

    Example: `train_model("ner_conll2003", ["dataset_reader.data_path=conll2003"])`
    """
    resolved = recipe.resolve(config, settings, download)
    train, metrics = recipe.train_group(resolved)
    check_number("start_epoch_num", start_epoch_num, 0, whole=True)
    if 0 < train.epochs <= start_epoch_num:
        raise ConfigError(
            f"start_epoch_num: expected less than train.epochs {train.epochs}, received "
            f"{start_epoch_num}"
        )
    if recipe.main_entry(resolved)["class_name"] != "ner":
        for name, none in (("letter_case", {}), ("typography", 0)):
            if given := getattr(train, name):
                raise ConfigError(
                    f"train.{name}: expected {none} with ner_svm, which learns in one pass and has "
                    f"no epochs to draw for; received {given!r:.200}"
                )
    save_path = recipe.save_path_of(resolved)
    start = recipe.start_values(resolved, save_path)
    storage.check_writable(save_path.parent)
    storage.check_replaceable(save_path)
    _check_tensorboard(train)
    data = data or recipe.read(resolved)
    needed = _needed_parts(resolved, train)
    for part in needed:
        if not data.instances(part)[0]:
            raise DataError(
                f"the data set has no {part} part; training needs {' and '.join(needed)}"
                + ", or train.val_every_n_epochs=0" * (part == "valid")
            )
    if train.seed is not None:
        keras.utils.set_random_seed(train.seed)

    tagger = fit_pipeline(resolved, data, train.train_on_valid)
    chainer = tagger.chainer
    if len(chainer.inputs) == 1:  # with further ones no raw text is taken
        tokenization.check(chainer.text_splitter.tokenizer.mode, data.instances("train")[0])
    temperature = take_weights(tagger, start)
    learnt = _learnt(chainer, data, train)
    if isinstance(chainer.main, NerSvm):
        _fit_machines(tagger, learnt, data, train, metrics, tell)
        _LOG.info("Saving model to %s", save_path)
        tagger.save(save_path)
        return tagger
    validation = None
    if train.validates:
        validation = pipeline.evaluation_batches(_encoded(chainer, data, "valid"))
    epoch = tf.Variable(0, dtype=tf.int64)
    forms = [(p, _learnt(chainer, data, train, change)) for p, change in train.forms]
    batches = pipeline.training_batches(learnt, train.batch_size, train.seed, epoch, forms)
    epochs = train.epochs or _ENDLESS
    schedule = chainer.main.schedule(int(batches.cardinality()), epochs)
    tagger.model.compile(chainer.main.optimizer(), CRFLoss())
    progress = Progress(
        save_path.with_name(f"{save_path.name}.training"),
        fingerprint(resolved, [data.instances(part) for part in ("train", "valid")]),
        train,
        metrics,
        learnt,
        validation,
        schedule,
        chainer.main.moving_average,
        tell,
        lambda part: _examples(tagger, data, part),
        starts_trained=start is not None and not _is_start(start),
    )
    progress.prepare(tagger.model, start_epoch_num)
    in_epoch = keras.callbacks.LambdaCallback(lambda number, logs=None: epoch.assign(number))
    callbacks = [in_epoch, schedule, progress]
    if train.tensorboard_log_dir:
        callbacks.append(keras.callbacks.TensorBoard(train.tensorboard_log_dir))
    stopped = False
    if not progress.finished:
        try:
            tagger.model.fit(
                batches,
                epochs=epochs,
                initial_epoch=progress.epochs_done,
                callbacks=callbacks,
                shuffle=False,
                verbose=verbose,
            )
        except KeyboardInterrupt:
            if not progress.has_learnt:
                _LOG.info(
                    "Stopped before anything was gained, no model is saved; the same command goes "
                    "on after epoch %d",
                    progress.epochs_done,
                )
                raise
            stopped = True
            _LOG.info("Stopped; the same command goes on after epoch %d", progress.epochs_done)
    progress.restore_best()
    if chainer.main.temperature is None:
        if validation is not None:
            temperature = calibration.fitted_temperature(tagger.model, validation)
        calibration.set_temperature(tagger, temperature)
    measured = f" of {metrics[0].name} {progress.best:.4f}" if validation is not None else ""
    _LOG.info("Saving model%s to %s", measured, save_path)
    tagger.save(save_path)
    if not stopped:
        progress.clear()
    return tagger


def _needed_parts(config: Mapping[str, Any], train: TrainSettings) -> tuple[str, ...]:
    """The parts of the data set that training cannot do without."""
    measures = train.validates and recipe.main_entry(config)["class_name"] == "ner"
    return ("train", "valid") if measures or train.train_on_valid else ("train",)


def _fit_machines(
    tagger: Tagger,
    learnt: tf.data.Dataset,
    data: DataLearningIterator,
    train: TrainSettings,
    metrics: list[Metric],
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Gives a tagger a network that is fitted in one pass; scores it on the part valid, if any."""
    started, chainer = time.monotonic(), tagger.chainer
    batches = pipeline.evaluation_batches(learnt)
    chainer.network = chainer.main.fitted(chainer.network, batches)
    _LOG.info("Fitted in %.1f s", time.monotonic() - started)
    if train.validates and data.instances("valid")[0]:
        validation = pipeline.evaluation_batches(_encoded(chainer, data, "valid"))
        sentences, scores = Scorer(chainer.network, metrics)(validation)
        report = event(sentences, scores, time.monotonic() - started)
        if train.show_examples:
            report["examples"] = _examples(tagger, data, "valid")
        tell({"valid": report})


def build_model(config: Config, settings: Iterable[str] = (), *, download: bool = False) -> Tagger:
    """Loads the model of a configuration: the one that training left in its `save_path`.

    Where there is none yet, it is the one in its `load_path`, or the model that comes with kerasner
    under the configuration's name.

    Args:
        config: a dict, the path of a JSON file, or the name of an installed configuration.
        settings: changes of the form "path.to.key=value".
        download: whether to fetch the files of metadata.download where there is no model yet.

    Raises:
        kerasner.errors.KerasnerError: a wrong configuration, or no model.

    Example: `build_model(configs.ner.ner_conll2003)(["Bernhard Riemann lived in Göttingen"])`
    """
    resolved = recipe.resolve(config, settings)
    if download and not recipe.model_folder(resolved) and not _shipped(config, resolved):
        resolved = recipe.resolve(config, settings, download=True)
    return _load(config, resolved)


def evaluate_model(
    config: Config, settings: Iterable[str] = (), *, download: bool = False
) -> dict[str, Evaluation]:
    """Evaluates the model of a configuration, the one that `build_model` loads.

    Returns:
        Scores of the parts "valid" and "test", as far as the data set has them and the group
        "train" does not say otherwise.
    """
    resolved = recipe.resolve(config, settings, download)
    recipe.train_group(resolved)
    return evaluate(_load(config, resolved), recipe.read(resolved), resolved)


def evaluate(
    tagger: Tagger, data: DataLearningIterator, config: Mapping[str, Any]
) -> dict[str, Evaluation]:
    """Scores of a tagger on the parts of a data set that a resolved configuration asks for."""
    train, metrics = recipe.train_group(config)
    scores = {}
    for part in train.evaluated_parts:
        sentences, tags = data.instances(part)
        if sentences:
            scores[part] = evaluation(tags, lambda rows=sentences: _tag(tagger, rows)[1], metrics)
    return scores


def take_weights(tagger: Tagger, start: Path | str | None) -> float:
    """Gives a tagger the weights of the model that `recipe.start_values` found, if any.

    Returns:
        The temperature of that model, or 1.

    Raises:
        ConfigError: nothing of what a start has learnt fits.
    """
    if start is None:
        return 1.0
    if not _is_start(start):
        source = archives.pretrained(start) if isinstance(start, str) else Tagger.load(start)
        transfer(source.chainer, tagger.chainer)
        return source.model.temperature
    report = transfer(Tagger.load_start(start).chainer, tagger.chainer)
    if any(name.startswith("recurrent_0/") for name in report.fresh):
        raise ConfigError(
            f"chainer.pipe (ner).load_path: the network of {start} has another form; expected the "
            "same settings of the network, and of its inputs, as the start was made with"
        )
    return 1.0


def _is_start(start: Path | str) -> bool:
    return isinstance(start, Path) and storage.is_start(start)


def _load(config: Config, resolved: Mapping[str, Any]) -> Tagger:
    if folder := recipe.model_folder(resolved):
        _LOG.info("using the model in %s", folder)
        return Tagger.load(folder)
    if name := _shipped(config, resolved):
        _LOG.info("using the model %s that comes with kerasner", name)
        return archives.pretrained(name)
    raise ArchiveError(
        f"{recipe.save_path_of(resolved)}: no model here yet; expected a trained one, see kerasner "
        "train"
    )


def _shipped(config: Config, resolved: Mapping[str, Any]) -> str | None:
    """Name of the model that comes with kerasner for a configuration, unless it is changed."""
    if isinstance(config, Mapping):
        return None
    name = Path(config).stem
    is_installed = name in configuration.names() and (
        configuration.load(name) == configuration.load(config)
    )
    if not is_installed or name not in archives.names():
        return None
    own_place = recipe.save_path_of(inline(configuration.resolve(configuration.load(config))))
    return name if own_place == recipe.save_path_of(resolved) else None


def _learnt(
    chainer: Chainer,
    data: DataLearningIterator,
    train: TrainSettings,
    change: pipeline.Change | None = None,
) -> tf.data.Dataset:
    """The sentences that are trained on, as they are or in another form."""
    learnt = _encoded(chainer, data, "train", change)
    if train.train_on_valid:
        learnt = learnt.concatenate(_encoded(chainer, data, "valid", change))
    return learnt


def _encoded(
    chainer: Chainer,
    data: DataLearningIterator,
    part: str,
    change: pipeline.Change | None = None,
) -> tf.data.Dataset:
    sentences, tags = data.instances(part)
    n_inputs = len(chainer.inputs)
    if change is not None:
        sentences = pipeline.changed(sentences, change, n_inputs)
    return pipeline.encoded(sentences, tags, chainer.encode, chainer.tag_vocab, n_inputs)


def _tag(tagger: Tagger, sentences: list[Any]) -> tuple[list[list[str]], list[list[str]]]:
    return tagger(*pipeline.columns(sentences, len(tagger.chainer.inputs)))


def _examples(tagger: Tagger, data: DataLearningIterator, part: str) -> list[dict[str, Any]]:
    """The first sentences of a part with the model's answers, as DeepPavlov's reports show them."""
    sentences, tags = (rows[:_SHOWN] for rows in data.instances(part))
    answers = zip(*_tag(tagger, sentences), strict=True)
    return [
        {"x": x, "y_predicted": list(answer), "y_true": y}
        for x, answer, y in zip(sentences, answers, tags, strict=True)
    ]


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
    inputs, targets = variables(config["chainer"])
    rows = [*pipeline.columns(sentences, len(inputs)), tags]
    flat = {
        name: tf.constant([item for row in column for item in row])
        for name, column in zip([*inputs, targets[0]], rows, strict=True)
    }
    return Tagger(Chainer(config["chainer"], data=flat), recipe.portable(config))


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
