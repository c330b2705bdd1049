"""Requests that a server answers before it takes those of users.

The first calls of a loaded model are slow: TensorFlow still optimises its graph. TensorFlow Serving
replays the requests of a file in `assets.extra` first, and says that the model is there only then.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from kerasner.serving.tensors import to_proto

FILE = "tf_serving_warmup_requests"

# All made up. Mixed lengths, names of several kinds, numbers, quotation marks.
_SENTENCES = {
    "en": [
        "Nora Lindqvist moved from Oslo to Buenos Aires on 3 May 2021.",
        "Shares of Harbour & Pine fell by 4.2 percent.",
        'The mayor of Little Ferry, Tom Abara, called the plan "far too cheap".',
        "Nobody answered.",
        "After the match in Lisbon the United Rowing Club thanked its Portuguese guests, who had "
        "come by train, and promised to build a second boathouse on the river before next summer.",
    ],
    "ru": [
        "Нора Линдквист переехала из Осло в Буэнос-Айрес 3 мая 2021 года.",
        "Акции компании «Гавань и сосна» упали на 4,2 процента.",
        "Мэр Малой Переправы Тимур Абаров назвал этот план «слишком дешёвым».",
        "Никто не ответил.",
        "После матча в Лиссабоне Объединённый гребной клуб поблагодарил португальских гостей, "
        "которые приехали на поезде, и пообещал построить у реки второй эллинг до лета.",
    ],
}
_SHORT, _PARAGRAPH, _DOCUMENT = 32, 5, 120  # sentences


def write(
    path: Path, model_name: str, signatures: Mapping[str, Sequence[str]], language: str
) -> None:
    """Writes a file of requests as TensorFlow Serving reads it: a TFRecord of `PredictionLog`.

    Args:
        path: of the file.
        model_name: under which the model is served.
        signatures: name of each signature -> names of its inputs.
        language: of the texts; English where no other is there.
    """
    with tf.io.TFRecordWriter(str(path)) as file:
        for request in requests(model_name, signatures, language):
            log = prediction_log_pb2.PredictLog(request=request)
            file.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def requests(
    model_name: str, signatures: Mapping[str, Sequence[str]], language: str
) -> Iterator[predict_pb2.PredictRequest]:
    """Of each signature a sentence, a batch of short texts, a paragraph and a long document."""
    sentences = list(islice(cycle(_SENTENCES.get(language, _SENTENCES["en"])), _DOCUMENT))
    texts = [
        sentences[:1],
        sentences[:_SHORT],
        [" ".join(sentences[:_PARAGRAPH])],
        [" ".join(sentences)],
    ]
    # A row of tokens is one sentence, a document many rows.
    rows = [sentences[:1], sentences[:_SHORT], sentences[:_PARAGRAPH], sentences]
    for name, inputs in signatures.items():
        for batch in map(_strings, texts) if inputs == ["text"] else map(_token_rows, rows):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            for key in inputs:  # what else stands beside the tokens is of the same shape
                request.inputs[key].CopyFrom(to_proto(batch))
            yield request


def _strings(texts: Iterable[str]) -> np.ndarray:
    return np.array([text.encode() for text in texts], object)


def _token_rows(sentences: Iterable[str]) -> np.ndarray:
    rows = [re.findall(r"\w+|[^\w\s]", sentence) for sentence in sentences]
    width = max(map(len, rows))
    padded = [[*(token.encode() for token in row), *[b""] * (width - len(row))] for row in rows]
    return np.array(padded, object)
