"""What `gateway demo` shows: a server of its own, an organization set up through the admin REST, and what comes of it.

Only the doors are used that any customer uses: the command line, the admin REST, SCIM.
"""
