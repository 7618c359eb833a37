"""One file per figure; each a pure function from the run's tables to a matplotlib figure."""
