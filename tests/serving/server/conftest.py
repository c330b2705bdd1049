"""What the tests over HTTP share."""

import pytest
from http_server import serving_small


@pytest.fixture(scope="module")
def rest_server(tagger, tmp_path_factory):
    """The trained tagger behind the REST API."""
    base = tmp_path_factory.mktemp("served") / "small"
    tagger.export(base, version=1)
    with serving_small(base) as running:
        yield running
