"""Webhooks: committed events sent to addresses of the application and of organizations.

What a message is (`messages`), how it is sent (`sender`, over `connections` and `addresses`). A deployment without a
webhook imports no HTTP client and no library of signatures: they are imported where they are first used.
"""
