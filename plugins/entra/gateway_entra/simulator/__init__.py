"""Entra as a client of SCIM."""
