"""The lateness histogram says the truth to a microsecond, and the maximum exactly."""

from testbed.network.relay.lateness import BIN_NS, BINS, Lateness


def test_no_packets_have_no_lateness() -> None:
    assert Lateness().summary() == {"packets": 0, "median_us": None, "p99_us": None, "max_us": None}


def test_quantiles_are_within_one_microsecond() -> None:
    lateness = Lateness()
    for microseconds in range(1, 101):
        lateness.add(microseconds * 1000 - 500)
    median, p99 = lateness.quantile_us(0.5), lateness.quantile_us(0.99)
    assert median is not None and abs(median - 49.5) <= 1
    assert p99 is not None and abs(p99 - 98.5) <= 1
    assert lateness.summary()["max_us"] == 99.5


def test_lateness_beyond_the_last_bin_is_reported_by_its_maximum() -> None:
    lateness = Lateness()
    lateness.add(BIN_NS * BINS * 7)
    assert lateness.quantile_us(0.5) == BINS * 7
