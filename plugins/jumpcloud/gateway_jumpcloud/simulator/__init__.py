"""JumpCloud as a client of SCIM."""
