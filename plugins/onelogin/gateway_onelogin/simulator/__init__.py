"""OneLogin as a client of SCIM."""
