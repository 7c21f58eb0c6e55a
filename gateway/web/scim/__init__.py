"""The SCIM 2.0 endpoints (RFC 7644) as a WSGI application."""
