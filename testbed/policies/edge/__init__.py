"""Serving many users from one target: who is admitted, what a pass takes in, and devices that draft for their users."""
