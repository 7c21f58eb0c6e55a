"""HTTP: the SCIM endpoints for identity providers, the admin REST, health. Everything enters and leaves here."""
