"""Sweeps: one experiment over a matrix of settings, its points run in processes, resumed, and put into one table."""
