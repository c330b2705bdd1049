"""Makes `names_ru`, the lists of Russian names and words that come with kerasner.

    pip install pymorphy3 pymorphy3-dicts-ru
    python examples/russian_names.py navec_news_v1_1B_250K_300d_100q.tar names_ru
    python -m kerasner.pretrained.pack names_ru names_ru

The lists are word forms of OpenCorpora's dictionary, in small letters: first names, surnames,
patronymics, places, organisations; and ordinary words, of which only those are kept that navec
knows. A form may be in several lists.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import pymorphy3

from kerasner.navec import read_navec

LISTS = {
    "Name": "name",
    "Surn": "surname",
    "Patr": "patronymic",
    "Geox": "place",
    "Orgn": "organisation",
}


def main(vectors: str, folder: str) -> None:
    frequent = set(read_navec(vectors)[0].words)
    lists = defaultdict(set)
    for form, tag, *_ in pymorphy3.MorphAnalyzer().dictionary.iter_known_words():
        spellings = {form, form.replace("ё", "е")}
        kinds = [LISTS[grammeme] for grammeme in LISTS if grammeme in tag]
        for kind in kinds:
            lists[kind] |= spellings
        if not kinds and "Abbr" not in tag and "Init" not in tag:
            lists["word"] |= spellings & frequent
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    ordered = {kind: sorted(lists[kind]) for kind in (*LISTS.values(), "word")}
    text = json.dumps(ordered, ensure_ascii=False, indent=0) + "\n"
    (place / "lexicon.json").write_text(text, encoding="utf-8", newline="\n")
    print({kind: len(forms) for kind, forms in ordered.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
