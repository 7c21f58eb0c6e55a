"""The demonstration: a server of its own, and an organization that is set up and provisioned.

It uses the public interfaces only: the command line, the admin REST, SCIM.
"""
