"""Figures to point at, zoom and filter: Vega-Lite specifications as plain data, and the library that draws them."""
