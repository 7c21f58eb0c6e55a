"""Plugins: what hooks exchange, what they are asked, and the manager that asks them."""
