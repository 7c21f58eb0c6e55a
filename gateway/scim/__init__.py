"""SCIM 2.0 as RFC 7643 and RFC 7644 have it: pure functions and frozen values, no server and no database."""
