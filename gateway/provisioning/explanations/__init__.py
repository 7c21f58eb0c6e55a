"""Explanations of requests: their steps, what of them is masked, and how they are read."""
