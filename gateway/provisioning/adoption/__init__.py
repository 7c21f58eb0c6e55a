"""Adoption: what becomes of a user whom no connection manages once a connection writes to it."""
