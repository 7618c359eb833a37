"""What tests of experiment files share."""

import pytest


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "e.yaml"
        path.write_text(text)
        return path

    return write
