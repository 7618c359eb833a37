"""Tests, by the package they test; helpers are imported as `tests.FOLDER.MODULE`."""
