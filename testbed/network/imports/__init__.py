"""Reads what other tools measured: one module for a family of formats, each giving the same tidy figures.

May import the specification of links and the readers of files. Start at `formats`.
"""
