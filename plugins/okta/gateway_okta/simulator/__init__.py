"""Okta as a client of SCIM."""
