"""Domains: what to put into the DNS, whether it was found, and what becomes of addresses outside of them."""

from __future__ import annotations

from typing import Any

from flask import request

from gateway.provisioning.console_access import CONNECTIONS
from gateway.provisioning.domains.policy import ALLOW
from gateway.provisioning.domains.records import host_of, value_of
from gateway.provisioning.domains.states import VERIFIED
from gateway.provisioning.domains.verification import MOST
from gateway.scim.errors import Refusal
from gateway.web.console.blueprint import blueprint, note_refusal, see
from gateway.web.console.context import current_request
from gateway.web.console.forms import Problem
from gateway.web.console.rendering import render

_PATH = "/console/organizations/<organization>/domains"
_OPERATION = "/organizations/{organization}/domains"
#: Characters of what is typed as a name.
_LONGEST = 253


@blueprint.page(_PATH)
def show_domains() -> Any:
    """Show the domains of an organization, each with its record."""
    return _page(None)


def _page(problem: Problem | None) -> Any:
    console = current_request()
    domains = console.gateway.domain_verification.page(console.organization, 0, MOST)
    page = render(
        "domains.html", page="show_domains", problem=problem, may_change=console.may(CONNECTIONS),
        domains=[(domain, host_of(domain), value_of(domain)) for domain in domains],
        any_verified=any(domain.state == VERIFIED for domain in domains),
        allows=console.organization.outside_domains == ALLOW,
    )  # fmt: skip
    return page, problem.refusal.status if problem else 200


@blueprint.action(_PATH, operation=f"POST {_OPERATION}", needs=CONNECTIONS)
def add_domain() -> Any:
    """Add a domain."""
    console, name = current_request(), request.form.get("name", "")[:_LONGEST]
    try:
        added = console.gateway.domain_verification.add(console.caller, name, console.trace)
    except Refusal as refusal:
        return _page(Problem(note_refusal(refusal), {"name": name}))
    return see("show_domains", f"{added.name} was added. Put its record into the DNS, then check it.")


@blueprint.action(f"{_PATH}/policy", operation="PATCH /organizations/{organization}", needs=CONNECTIONS)
def set_domain_policy() -> Any:
    """Choose what becomes of addresses outside of the verified domains."""
    console, policy = current_request(), "refuse" if request.form.get("policy") == "refuse" else ALLOW
    try:
        console.gateway.setup.edit_organization(console.caller, {"outside_domains": policy}, console.trace)
    except Refusal as refusal:
        return _page(Problem(note_refusal(refusal), {}))
    outside = "are allowed" if policy == ALLOW else "are refused from now on"
    return see("show_domains", f"Addresses outside of the verified domains {outside}.")


@blueprint.action(
    f"{_PATH}/<name>/check", operation=f"POST {_OPERATION}/{{name}}/check", needs=CONNECTIONS, expensive=True
)
def check_domain(name: str) -> Any:
    """Look up the record of a domain now."""
    console = current_request()
    checked = console.gateway.domain_verification.check(console.caller, name, console.trace)
    found = checked.problem or f"The record of {checked.name} was found."
    return see("show_domains", found)


@blueprint.action(
    f"{_PATH}/<name>/verify", operation=f"POST {_OPERATION}/{{name}}/verify", needs=CONNECTIONS, operator=True
)
def verify_domain(name: str) -> Any:
    """Mark a domain as verified, as an operator."""
    console = current_request()
    verified = console.gateway.domain_verification.verify(console.caller, name, console.trace)
    return see("show_domains", f"{verified.name} is verified by your word.")


@blueprint.action(f"{_PATH}/<name>/remove", operation=f"DELETE {_OPERATION}/{{name}}", needs=CONNECTIONS)
def remove_domain(name: str) -> Any:
    """Remove a domain."""
    console = current_request()
    console.gateway.domain_verification.remove(console.caller, name, console.trace)
    return see("show_domains", "The domain was removed.")
