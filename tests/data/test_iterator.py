import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasner import registry
from kerasner.data import DataLearningIterator
from kerasner.errors import ConfigError

DATA = {
    "train": [([f"train{i}"], ["O"]) for i in range(10)],
    "valid": [(["valid"], ["B-PER"])],
    "test": [(["test"], ["B-LOC"])],
}


def test_instances_keep_the_order_of_the_data():
    iterator = DataLearningIterator(DATA, seed=1)
    inputs, targets = iterator.instances("train")
    assert inputs == [[f"train{i}"] for i in range(10)]
    assert targets == [["O"]] * 10
    assert iterator.instances("valid") == ([["valid"]], [["B-PER"]])


def test_all_parts_together():
    inputs, _ = DataLearningIterator(DATA).instances("all")
    assert inputs == [*([f"train{i}"] for i in range(10)), ["test"], ["valid"]]


def test_parts_left_out_are_empty():
    iterator = DataLearningIterator({"train": DATA["train"]})
    assert iterator.instances("test") == ([], [])
    assert list(iterator.batches("test", 4)) == []
    assert list(iterator.batches("test", -1)) == []


def test_batches_without_shuffling():
    batches = list(DataLearningIterator(DATA, shuffle=False).batches("train", 4))
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 2]
    assert [x for inputs, _ in batches for x in inputs] == [x for x, _ in DATA["train"]]
    assert batches[2] == ([["train8"], ["train9"]], [["O"], ["O"]])


def test_seed_decides_the_order_and_every_epoch_has_its_own():
    first, again = (DataLearningIterator(DATA, seed=3) for _ in range(2))
    epochs = [list(first.batches("train", 4)) for _ in range(2)]
    assert [list(again.batches("train", 4)) for _ in range(2)] == epochs
    assert epochs[0] != epochs[1]
    assert list(DataLearningIterator(DATA, seed=4).batches("train", 4)) != epochs[0]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.integers(0, 20), st.integers(-1, 25).filter(bool), st.booleans(), st.integers())
def test_batches_deal_every_sample_once(count, batch_size, shuffle, seed):
    data = {"train": [(i, str(i)) for i in range(count)]}
    batches = list(DataLearningIterator(data, seed, shuffle).batches("train", batch_size))
    assert sorted(x for inputs, _ in batches for x in inputs) == list(range(count))
    assert all(y == str(x) for batch in batches for x, y in zip(*batch, strict=True))
    size = batch_size if batch_size > 0 else max(count, 1)
    assert [len(inputs) for inputs, _ in batches[:-1]] == [size] * (len(batches) - 1)
    assert all(0 < len(inputs) <= size for inputs, _ in batches)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (({"trian": []},), "unknown part 'trian' .*did you mean 'train'"),
        (({"all": []},), "unknown part 'all' .*: valid names are train, valid, test$"),
        (([(["a"], ["O"])],), "^data: expected the samples of train, valid, test by part"),
        ((DATA, [1]), r"^seed: expected a whole number or null, received \[1\]"),
        ((DATA, 1.5), "^seed: .* received 1.5"),
        ((DATA, True), "^seed: .* received True"),
        ((DATA, 1, "yes"), "^shuffle: expected true or false, received 'yes'"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(ConfigError, match=message):
        DataLearningIterator(*arguments)


def test_bad_requests():
    iterator = DataLearningIterator(DATA)
    with pytest.raises(ConfigError, match="unknown part 'dev' .*train, valid, test, all"):
        iterator.instances("dev")
    with pytest.raises(ConfigError, match="unknown part 'dev'"):
        iterator.batches("dev", 4)
    for size in (0, 2.5, True):
        with pytest.raises(ConfigError, match=f"batch_size: expected .*received {size}"):
            iterator.batches("train", size)


def test_name_for_configurations():
    assert registry.get("data_learning_iterator") is DataLearningIterator
