"""scim2-server, alone and in Flask, over its own store: memory, so one process."""

from flask import Flask
from scim2_flask import ScimServer
from scim2_server.memory import InMemoryStorage
from scim2_server.testserver.application import BearerTokenApplication
from scim2_server.utils import load_default_provider

_provider, _store = load_default_provider(), InMemoryStorage()
_bare = BearerTokenApplication(_store, _provider, bearer_tokens=["peer"])

in_flask = Flask("peer")
ScimServer(_store, _provider, app=in_flask)


def bare(environ, start_response):
    """Serve without Flask; gives it an empty body where none was announced, which granian does not."""
    environ.setdefault("CONTENT_LENGTH", "0")
    return _bare(environ, start_response)
