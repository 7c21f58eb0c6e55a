"""The routes; a bearer token authenticates."""

from django.contrib.auth.models import AnonymousUser
from django.urls import include, path

urlpatterns = [path("scim/v2/", include("django_scim.urls", namespace="scim"))]


class _Peer:
    is_authenticated, is_active, pk = True, True, 1


def known(answer):
    """The middleware that looks at the token."""

    def asked(request):
        request.user = _Peer() if request.headers.get("Authorization") == "Bearer peer" else AnonymousUser()
        return answer(request)

    return asked
