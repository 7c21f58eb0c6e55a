"""Queries over users and groups: SCIM filters as SQL, pages, bookmarks."""
