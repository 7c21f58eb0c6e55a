"""Where faults are made, and the tests that concern each place: those that notice most of them stand first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

#: Parts of the names of tests that start processes, wait, or move thousands of users.
LEFT_OUT = (
    "many_processes",
    "ten_thousand",
    "stays_busy",
    "database_is_shut",
    "megabyte",
    "okta_writes_on",
    "waits_for_no_writer",
    "killed_server",
    "others_write_while",
    "generated_client",
    "it_is_valid",
    "runTest",
)
_BILLING = ("plugins/billing",)
_APART = ("tests/store/test_tenants_apart.py",)
_TENANCY = ("tests/system/test_tenancy.py",)
_SEATS = ("tests/provisioning/test_seats.py",)
_LIFE = ("tests/provisioning/test_lifecycle.py",)
_TOKENS = ("tests/web/admin/test_admin_tokens.py", "tests/web/admin/test_authentication.py")


class Target(NamedTuple):
    """A module, the tests to run, and the functions and classes whose code gets faults: () for all, None for none."""

    path: str
    tests: Sequence[str]
    names: Sequence[str] | None = None


TARGETS = (
    Target("plugins/billing/gateway_billing/__init__.py", (*_BILLING, *_SEATS), ()),
    Target("plugins/billing/gateway_billing/plans.py", _BILLING, ()),
    Target("plugins/billing/gateway_billing/wording.py", _BILLING, ()),
    Target(
        "gateway/store/organizations.py",
        (*_APART, *_SEATS),
        ("Reservation", "touch_policy", "reserve", "tally_steps"),
    ),
    Target("gateway/provisioning/unit_of_work.py", (*_SEATS, *_LIFE), ()),
    Target(
        "gateway/provisioning/users.py",
        (*_SEATS, *_LIFE, "tests/store/query/test_page_positions.py"),
        (
            "set_active",
            "delete",
            "_create",
            "_create_or_restore",
            "_rewrite",
            "_keep",
            "_stays",
            "_judge",
            "_kind",
            "_add",
            "_replace",
        ),
    ),
    Target(
        "gateway/provisioning/mapping.py",
        (*_SEATS, "tests/web/admin/test_group_mapping.py", "tests/provisioning/test_long_changes.py"),
        ("save", "_save_definition"),
    ),
    Target(
        "gateway/provisioning/admission.py",
        (
            "tests/provisioning/test_tokens.py",
            *_TENANCY,
            "tests/provisioning/test_refused_tokens.py",
            "tests/provisioning/test_secret_key_rotation.py",
            "tests/web/admin/test_activity.py",
        ),
        (),
    ),
    Target(
        "gateway/provisioning/queries.py",
        (*_TOKENS, *_TENANCY, "tests/web/admin/test_feeds.py"),
        ("organization", "organizations", "connection", "events"),
    ),
    Target(
        "gateway/web/admin/context.py",
        (*_TOKENS, "tests/web/admin/test_connections.py", *_TENANCY),
        ("only_organization", "resolve_organization", "resolve_connection", "require_operator"),
    ),
    Target("gateway/web/admin/auth.py", _TOKENS, ("check_scope",)),
    Target("gateway/store/tokens.py", (*_TOKENS, *_TENANCY)),
    Target("gateway/store/mapping_rules.py", ("tests/web/admin/test_group_mapping.py", *_TENANCY)),
    *(
        Target(f"gateway/store/{name}.py", (*_APART, *_TENANCY))
        for name in (
            "users",
            "groups",
            "connections",
            "portions",
            "memberships",
            "activity",
            "takeovers",
            "waiting_members",
            "long_changes",
            "events",
            "query/columns",
            "query/search",
            "query/single_statement",
        )
    ),
)
