"""The blueprint of all pages: who is signed in, what the session may do, and refusals as pages.

A view is registered by `page` (it shows something) or `action` (a form that changes something). An action names the
operation of the admin REST that does the same, by which the activity knows both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import flask
from flask import Response, current_app, g, redirect, request, url_for
from werkzeug.exceptions import HTTPException

from gateway.provisioning import Provisioning, Trace
from gateway.provisioning.console_access import VIEW, Session
from gateway.scim.errors import Forbidden, NotFound, Refusal
from gateway.web.console.browser import accept_large_form, read_cookie, refuse_other_sites, set_headers
from gateway.web.console.context import ConsoleRequest, current_request
from gateway.web.console.rendering import render, render_fragment
from gateway.web.errors import Errors, current_http_request

View = TypeVar("View", bound=Callable[..., Any])

#: Fields that no page shows again.
_SECRET_FIELDS = frozenset({"token", "code"})
_USUAL_STATUS = {"POST": 201, "DELETE": 204}
_RIGHTS = {
    "sso": "change single sign-on",
    "connections": "change connections, tokens and domains",
    "mapping": "change Map to groups",
    "people": "change people and groups",
    "webhooks": "change webhooks",
    "operate": "do this: only an operator of the application can",
}


class Route(NamedTuple):
    """What a view declares: whether a session is needed, which right, whether only operators open it."""

    signed_in: bool
    needs: str
    operator: bool
    expensive: bool
    #: The operation of the admin REST that an action carries out, or one of the console itself.
    operation: str | None


class Pages(flask.Blueprint):
    """The routes of the console."""

    def __init__(self) -> None:
        super().__init__(
            "console",
            __name__,
            template_folder="templates",
            static_folder="static",
            static_url_path="/console/static",
        )
        #: By endpoint; a route that is not here is refused.
        self.declared: dict[str, Route] = {}
        self.before_request(self._begin_request)
        self.after_request(_end_request)
        self.register_error_handler(Refusal, show_refusal)
        self.register_error_handler(HTTPException, _show_http_error)
        self.register_error_handler(Exception, _show_failure)

    def page(
        self,
        rule: str,
        *,
        signed_in: bool = True,
        operator: bool = False,
        expensive: bool = False,
    ) -> Callable[[View], View]:
        """Register a view that shows something. `operator`: for operators alone; `expensive`: it waits in a queue."""
        return self._declare(rule, "GET", Route(signed_in, VIEW, operator, expensive, None))

    def action(
        self,
        rule: str,
        *,
        operation: str,
        needs: str = VIEW,
        signed_in: bool = True,
        operator: bool = False,
        expensive: bool = False,
    ) -> Callable[[View], View]:
        """Register a view that a form posts to; `needs` is a right of `gateway.provisioning.console_access`."""
        return self._declare(rule, "POST", Route(signed_in, needs, operator, expensive, operation))

    def _declare(self, rule: str, method: str, route: Route) -> Callable[[View], View]:
        def decorate(view: View) -> View:
            self.declared[f"{self.name}.{view.__name__}"] = route
            return self.route(rule, methods=[method])(view)

        return decorate

    def _begin_request(self) -> Any:
        if request.endpoint == f"{self.name}.static":
            return None
        route = self.declared[str(request.endpoint)]
        gateway: Provisioning = current_app.extensions["gateway"]
        http_request = current_http_request()
        operation = route.operation or f"GET {request.url_rule}"
        http_request.trace = trace = Trace(
            operation,
            http_request.request_id,
            status=_USUAL_STATUS.get(operation.partition(" ")[0], 200),
            before_portions=http_request.require_queue,
        )
        session = _find_session()
        console_request = g.console_request = ConsoleRequest(gateway, trace, session=session)
        if request.method not in ("GET", "HEAD"):
            refuse_other_sites(http_request, gateway.config)
        if not route.signed_in:
            return None
        if session is None:
            return show_signed_out()
        accept_large_form(http_request, gateway.config)
        trace.principal = session.record.person
        http_request.client_key = f"session {session.record.uid}"
        arguments = request.view_args or {}
        if "organization" in arguments:
            console_request.resolve_organization(arguments.pop("organization"))
        if "connection" in arguments:
            console_request.resolve_connection(arguments.pop("connection"))
        if route.operator and not console_request.is_operator:
            raise NotFound(f"There is nothing at {request.path[:200]!r} for you.")
        if route.needs not in session.rights:
            raise Forbidden(
                f"You are signed in to look, and cannot {_RIGHTS[route.needs]}. Ask for a link that allows it."
            )
        if route.expensive:
            http_request.require_queue()
        return None


def _find_session() -> Session | None:
    """Return the session of the browser, None if it is not signed in."""
    gateway: Provisioning = current_app.extensions["gateway"]
    secret = read_cookie(current_http_request(), gateway.config)
    sources = current_app.extensions.get("session_sources", ())
    return gateway.console_access.find_session(secret, sources) if secret else None


def show_signed_out() -> Any:
    """Show that the session has ended; what was typed into a form can be sent again once signed in."""
    if _is_part():
        return render_fragment("signed_out_part.html"), 401
    if request.method == "GET" and not read_cookie(
        current_http_request(), current_app.extensions["gateway"].config
    ):
        return redirect(url_for("console.show_start"), 303)
    return render("signed_out.html", typed=typed_fields(), action=request.path), 401


def typed_fields() -> list[tuple[str, str]]:
    """Return the fields of the form that was sent, but secrets, so that it can be sent again."""
    if request.method != "POST" or not _SECRET_FIELDS.isdisjoint(request.form):
        return []
    return list(request.form.items(multi=True))


def show_refusal(refusal: Refusal) -> Any:
    """Show a refusal as a page, and record it in the activity."""
    note_refusal(refusal)
    answer = flask.make_response(
        render_fragment("refused_part.html", refusal=refusal)
        if _is_part()
        else render(
            "refused.html",
            refusal=refusal,
            request_id=current_http_request().request_id,
            back=back_path(),
            again=typed_fields() if refusal.status in (429, 503) else [],
        ),
        refusal.status,
    )
    if refusal.retry_after is not None:
        answer.headers["Retry-After"] = str(refusal.retry_after)
    return answer


def _is_part() -> bool:
    """Return whether htmx asks for a part of a page; it puts whatever is answered in its place."""
    return "HX-Request" in request.headers


def note_refusal(refusal: Refusal) -> Refusal:
    """Record a refusal in the activity, where a view shows it in a page of its own."""
    errors: Errors = current_app.extensions["errors"]
    return errors.record(refusal, current_http_request())


def back_path() -> str:
    """Return the path of the page to go back to: that of the organization, or the start."""
    console_request: ConsoleRequest | None = g.get("console_request")
    if console_request and console_request.session and console_request.found_organization:
        return url_for("console.show_home", organization=console_request.organization.uid)
    return url_for("console.show_start")


def _show_http_error(error: HTTPException) -> Any:
    if error.code is not None and error.code < 400:
        return error
    errors: Errors = current_app.extensions["errors"]
    return show_refusal(errors.as_refusal(error, current_http_request()))


def _show_failure(error: Exception) -> Any:
    errors: Errors = current_app.extensions["errors"]
    return show_refusal(errors.as_refusal(error, current_http_request()))


def _end_request(response: Response) -> Response:
    console_request: ConsoleRequest | None = g.get("console_request")
    if console_request and console_request.trace.written and console_request.trace.organization_id:
        console_request.gateway.activity_writer.record_change(console_request.trace)
    set_headers(response)
    return response


#: All pages register their views with it.
blueprint = Pages()


def see(endpoint: str, notice: str = "", **arguments: Any) -> Any:
    """Redirect to a page after a form was carried out; `notice` is shown there once."""
    console_request = current_request()
    if notice:
        console_request.gateway.console_access.leave(console_request.signed_in, "notice", notice)
    if console_request.found_organization:
        arguments.setdefault("organization", console_request.organization.uid)
    return redirect(url_for(f"console.{endpoint}", **arguments), 303)
