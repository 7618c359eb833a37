"""Serving many users from one target: who is admitted, and what each pass of the device takes in."""
