"""The report of a run: figures, tables and provenance in one HTML file. Imports matplotlib; nothing of the engines."""

from testbed.report.page import write_page, write_report

__all__ = ["write_page", "write_report"]
