import time

import numpy as np
import pytest

from kerasner import arrays


@pytest.mark.parametrize("compress", [False, True])
def test_same_arrays_same_bytes(compress, tmp_path, monkeypatch):
    content = {"a/b": np.arange(6).reshape(2, 3), "text": np.array("x"), "none": np.zeros((0, 2))}
    arrays.save(tmp_path / "one.npz", content, compress)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    arrays.save(tmp_path / "two.npz", content, compress)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as stored:
        assert set(stored.files) == set(content)
        for name, array in content.items():
            np.testing.assert_array_equal(stored[name], array)


def test_nothing_is_left_where_writing_fails(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        arrays.save(tmp_path / "one.npz", {"a": np.array([object()])})
    assert not list(tmp_path.iterdir())
