"""Active learning in the terminal: annotate ten sentences, train a few-shot tagger in seconds,
correct the sentences that it is least certain of, train again.

    python examples/active_learning.py FOLDER SENTENCES.txt

SENTENCES.txt has a sentence a line. FOLDER/train.txt keeps the annotations, and a second start goes
on from them; FOLDER/model is the tagger trained on all of them.
"""

import argparse
import functools
import json
import random
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from kerasner import Tagger, bio, train_model
from kerasner.data import DataLearningIterator, read_conll
from kerasner.errors import DataError, KerasnerError
from kerasner.few_shot.fitting import check_installed
from kerasner.recipe import resolve
from kerasner.training import fit_pipeline

HELP = """
Give the entities by the numbers of their tokens: 3-4 {0}, 7 {1}; a type may be cut short.
Enter: as predicted   -: no entity   s: skip   q: save and leave
"""
Tokens = list[str]
Tags = list[str]
Sample = tuple[Tokens, Tags]


def read_answer(answer: str, count: int, types: Sequence[str]) -> Tags:
    """An answer such as "3-4 PER, 7 LOC" -> BIO tags; a ValueError tells what is wrong with it."""
    tags = ["O"] * count
    for entity in [] if answer == "-" else [part.strip() for part in answer.split(",")]:
        parts = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?\s+(\S+)", entity)
        if not parts:
            raise ValueError(f"{entity!r}: expected token numbers and a type: 3-4 {types[0]}")
        first, last, given = int(parts[1]), int(parts[2] or parts[1]), parts[3].casefold()
        if not 1 <= first <= last <= count:
            raise ValueError(f"{entity!r}: expected numbers of 1 to {count}, the lower one first")
        same = [name for name in types if name.casefold() == given]
        found = same or [name for name in types if name.casefold().startswith(given)]
        if len(found) != 1:
            raise ValueError(f"{entity!r}: expected one type of {', '.join(types)}")
        if set(tags[first - 1 : last]) != {"O"}:
            raise ValueError(f"{entity!r}: expected tokens that are in no other entity")
        tags[first - 1 : last] = [f"B-{found[0]}"] + [f"I-{found[0]}"] * (last - first)
    return tags


def as_answer(tags: Tags) -> str:
    """The answer that gives these tags."""
    spans = [(f"{a + 1}-{b}" if b > a + 1 else f"{b}", name) for name, a, b in bio.entities(tags)]
    return ", ".join(f"{numbers} {name}" for numbers, name in spans) or "-"


def ask(tokens: Tokens, predicted: Tags, types: Sequence[str]) -> Tags | None:
    """What a person says: tags, or None to skip the sentence; an EOFError: the wish to leave."""
    shown = "  ".join(f"{number}:{token}" for number, token in enumerate(tokens, 1))
    width = shutil.get_terminal_size().columns
    print(textwrap.fill(shown, width, break_long_words=False, break_on_hyphens=False))
    print(f"predicted: {as_answer(predicted)}")
    while True:
        answer = input("> ").strip()
        if answer == "q":
            raise EOFError  # as at Ctrl-D
        if answer in ("", "s"):
            return None if answer else predicted
        try:
            return read_answer(answer, len(tokens), types)
        except ValueError as error:
            print(error)


def choose(
    tagger: Tagger | None, pool: list[Tokens], count: int, at_random: bool
) -> list[tuple[Tokens, Tags, str]]:
    """The sentences to ask for, with their predicted tags and what is to be said about them."""
    if tagger is None:
        return [(tokens, ["O"] * len(tokens), "") for tokens in pool[:count]]
    flat = tf.constant([token for tokens in pool for token in tokens])
    rows = tf.RaggedTensor.from_row_lengths(flat, [len(tokens) for tokens in pool]).to_tensor("")
    found = {name: value.numpy() for name, value in tagger.graph.tokens(rows).items()}
    # A sentence is as certain as its least certain token: the mean would hide a doubtful name
    # among the many tokens that are clearly no entity.
    certainty = np.where(rows == "", 1, found["scores"]).min(axis=1)
    order = range(len(pool)) if at_random else certainty.argsort(kind="stable").tolist()
    return [
        (pool[row], [tag.decode() for tag in found["tags"][row] if tag], f"{certainty[row]:.2f}")
        for row in order[:count]
    ]


def fit(
    config: str, settings: list[str], test: list[Sample], samples: list[Sample]
) -> Tagger | None:
    """A tagger of all annotations, saved; None while they are not enough to learn from."""
    start = time.monotonic()
    data = DataLearningIterator({"train": samples})
    try:
        tagger = train_model(config, settings, verbose=0, data=data)
    except DataError as error:  # no entity was found yet
        print(f"Not trained yet: {error}")
        return None
    seconds = time.monotonic() - start
    words = sum(len(tokens) for tokens, _ in samples)
    counts = f"{len(samples)} sentences, {words} words"
    f1 = f"; F1 on test {tagger.evaluate(test).total.f1:.1f}" if test else ""
    print(f"Trained on {counts} in {seconds:.1f} s{f1}")
    return tagger


def learn(
    options: argparse.Namespace,
    samples: list[Sample],
    pool: list[Tokens],
    annotate: Callable[[Tokens, Tags], Tags | None],
    train: Callable[[list[Sample]], Tagger | None],
) -> None:
    """Asks and trains in turn, until there is nothing to ask or the person leaves."""
    enough = len(samples) >= options.first or (samples and not pool)
    tagger = train(samples) if enough else None
    rounds, new, leaves = 0, 0, False
    while pool and not leaves and rounds != options.rounds:
        rounds, start = rounds + 1, time.monotonic()
        missing = max(options.first - len(samples), 0) or options.batch
        batch = choose(tagger, pool, missing if tagger is None else options.batch, options.random)
        how = "drawn at random" if tagger is None or options.random else "the least certain"
        seconds = time.monotonic() - start
        print(f"\nRound {rounds}: {len(batch)} of {len(pool)} sentences, {how} ({seconds:.1f} s)")
        start, n_right = time.monotonic(), 0
        for number, (tokens, predicted, certainty) in enumerate(batch, 1):
            if not options.simulate:
                print(f"\n[{number} of {len(batch)}{certainty and ', certainty '}{certainty}]")
            try:
                tags = annotate(tokens, predicted)
            except (EOFError, KeyboardInterrupt):
                leaves = True
                print()
                break
            pool.remove(tokens)
            if tags is not None:
                save(options.folder / "train.txt", tokens, tags)
                samples.append((tokens, tags))
                new, n_right = new + 1, n_right + (tags == predicted)
        print(f"Annotated in {time.monotonic() - start:.0f} s, {n_right} as predicted")
        if new and (leaves or not pool or len(samples) >= options.first):
            tagger, new = train(samples), 0


def save(path: Path, tokens: Tokens, tags: Tags) -> None:
    """Adds a sentence to a file, at once, so that no answer is lost."""
    lines = (f"{token} {tag}\n" for token, tag in zip(tokens, tags, strict=True))
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER")
    add("sentences", nargs="?", type=Path, metavar="SENTENCES.txt")
    add("--simulate", metavar="CORPUS", help="folder whose train.txt answers, test.txt measures")
    add("--types", nargs="+", default=["PER", "LOC", "ORG"], help="of entities (%(default)s)")
    add("--first", type=int, default=10, help="sentences before training (%(default)s)")
    add("--batch", type=int, default=5, help="sentences a round after that (%(default)s)")
    add("--rounds", type=int, help="at most (5 with --simulate, else until you leave)")
    add("--random", action="store_true", help="ask for random sentences in all rounds")
    add("--seed", type=int, default=1, help="of the random order (%(default)s)")
    add("--config", default="ner_few_shot_ru", help="one with ner_svm (%(default)s)")
    add("--set", action="append", default=[], metavar="PATH=VALUE", help="change the configuration")
    options = parser.parse_args()
    if (options.sentences is None) == (options.simulate is None):
        parser.error("expected either SENTENCES.txt or --simulate CORPUS")
    if options.first < 1 or options.batch < 1:
        parser.error(f"--first, --batch: expected 1 or more: {options.first}, {options.batch}")
    try:
        run(options)
    except (KerasnerError, OSError, UnicodeError) as error:
        sys.exit(f"error: {error}")


def run(options: argparse.Namespace) -> None:
    model = options.folder / "model"
    settings = [*options.set, f"chainer.pipe.ner_svm.save_path={json.dumps(str(model))}"]
    # What is missing is to be said before anyone annotates; it also gives the tokenizer.
    check_installed()
    example = DataLearningIterator({"train": [(["a", "b"], ["O", f"B-{options.types[0]}"])]})
    splitter = fit_pipeline(resolve(options.config, settings), example).chainer.text_splitter

    options.folder.mkdir(parents=True, exist_ok=True)
    path, samples, test = options.folder / "train.txt", [], []
    if path.exists():
        samples = read_conll(path)
        print(f"{path}: going on from {len(samples)} sentences")
        if not (text := path.read_text(encoding="utf-8")).endswith("\n\n"):  # edited by hand
            path.write_text(text + "\n\n", encoding="utf-8")
    labels = [tag[2:] for _, tags in samples for tag in tags if tag != "O"]
    types = list(dict.fromkeys([*options.types, *labels]))
    if options.simulate:
        options.rounds = options.rounds or 5
        gold, test = (
            [(t, [tag if tag[2:] in types else "O" for tag in tags]) for t, tags in part]
            for part in (read_conll(Path(options.simulate, f"{p}.txt")) for p in ("train", "test"))
        )
        answers = {tuple(tokens): tags for tokens, tags in gold}
        sentences = [list(tokens) for tokens in answers]

        def annotate(tokens: Tokens, predicted: Tags) -> Tags:
            return answers[tuple(tokens)]
    else:
        lines = options.sentences.read_text(encoding="utf-8").splitlines()
        rows = splitter.tokenizer(tf.constant(list(dict.fromkeys(lines)), tf.string))["tokens"]
        sentences = [[token.decode() for token in row] for row in rows.numpy() if len(row)]
        print(HELP.format(types[0], types[-1]))

        def annotate(tokens: Tokens, predicted: Tags) -> Tags | None:
            return ask(tokens, predicted, types)

    random.Random(options.seed).shuffle(sentences)
    done = {tuple(tokens) for tokens, _ in samples}
    pool = [tokens for tokens in sentences if tuple(tokens) not in done]
    train = functools.partial(fit, options.config, settings, test)
    learn(options, samples, pool, annotate, train)
    if model.exists():
        print(f"\nThe tagger is in {model}: kerasner predict {model} --entities -f texts.txt")
        print(f"Export it to be served: kerasner export {model} models")


if __name__ == "__main__":
    main()
