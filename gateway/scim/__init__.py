"""The SCIM 2.0 protocol (RFC 7643, RFC 7644) as pure functions and frozen values, without server or database."""
