"""Undo: brings the people of a connection back to where they were before what it did in a period."""
