"""Fixtures of `tests.tiny_pairs`."""

from tests.tiny_pairs import families, family, full_logits, near_pair, sequence  # noqa: F401
