"""The shapes of the admin REST, one module a noun: what it takes, strictly, and what it shows."""
