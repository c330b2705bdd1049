"""Examples that need nothing from outside. The others run in test_readme."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_crf_with_keras():
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / "crf_with_keras.py"), "--epochs", "4"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    before, after = (float(x) for x in re.findall(r"F1 .*: ([\d.]+)", result.stdout))
    assert before < 0.3 and after > 0.9
    tagged = re.findall(r"^(\w+) +([BIO]\S*) +([\d.]+)$", result.stdout, re.MULTILINE)
    assert [word for word, _, _ in tagged] == "on 5 may april left".split()
    taggings = re.findall(r"^([01]\.\d{4})  (.+)$", result.stdout, re.MULTILINE)
    assert taggings[0][1].split() == [tag for _, tag, _ in tagged]
    shares = [float(share) for share, _ in taggings]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True) and sum(shares) <= 1.001
    span = float(re.search(r"is a date: ([\d.]+)", result.stdout)[1])
    assert 0 < span <= 1
