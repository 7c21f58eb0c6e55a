"""What each text column of the database may hold of a person, and what erasing does about it.

`erased`: emptied or its row deleted. Anything else is the reason why the column keeps what it holds.
"""

from __future__ import annotations

ERASED = "erased"
ID = "an id of ours, which names nobody"
WORD = "a word of the gateway"
ADMIN = "an admin of the application: who acted stays known"
SETTING = "a setting that an admin wrote for the organization"
SECRET = "a digest or key"
GROUP = "a group, which an identity provider or admin named"

COLUMNS: dict[str, dict[str, str]] = {
    "activity": {
        "connection_uid": ID, "principal": ADMIN, "operation": WORD, "user_name": ERASED, "user_key": ERASED,
        "outcome": WORD, "detail": ERASED, "ignored": ERASED, "decisions": ERASED, "request_id": ID, "target_uid": ID,
        "facts": ERASED,
    },
    "admin_tokens": {"uid": ID, "name": ADMIN, "prefix": SECRET, "digest": SECRET, "scope": WORD},
    "adoptions": {"uid": ERASED, "found_by": ERASED, "risk": ERASED, "state": ERASED, "decided_by": ERASED},
    "brakes": {},
    "connection_clients": {"agent": "the program of an identity provider, which names nobody", "flags": WORD},
    "connection_warnings": {"cause": WORD},
    "connections": {
        "uid": ID, "slug": ID, "idp": WORD, "name": SETTING, "settings": SETTING, "mapping_attribute": SETTING,
        "brake": SETTING, "pause": SETTING, "adoption": WORD,
    },
    "console_links": {
        "uid": ID, "kind": WORD, "digest": SECRET, "email": ADMIN, "person": ADMIN, "role": WORD, "rights": WORD,
        "return_url": SETTING, "created_by": ADMIN, "used_from": ADMIN,
    },
    "console_sessions": {
        "uid": ID, "digest": SECRET, "source": WORD, "person": ADMIN, "role": WORD, "rights": WORD,
        "return_url": SETTING, "address": ADMIN, "sealed": SECRET,
    },
    "deliveries": {"plugin": WORD, "lease_holder": ID},
    "domains": {"name": SETTING, "state": WORD, "token": SETTING, "verified_by": WORD, "problem": WORD},
    "emails": {"value_key": ERASED},
    "erasures": {"uid": ID, "erased_by": ADMIN, "reason": ADMIN, "state": WORD, "texts": ERASED},
    "events": {"type": WORD, "resource": WORD, "resource_uid": ID, "connection_uid": ID, "data": ERASED},
    "feed_state": {},
    "gathered_refusals": {"connection_uid": ID, "reason": WORD},
    "grants": {"source": ERASED},
    "groups": {"uid": ID, "name": GROUP, "name_key": GROUP, "external_id": GROUP, "doc": GROUP, "doc_key": GROUP},
    "held_removals": {"resource": ERASED, "uid": ERASED, "name": ERASED, "action": ERASED},
    "holds": {"state": WORD, "decided_by": ADMIN},
    "hourly_calls": {},
    "import_rows": {"data": ERASED, "outcome": WORD, "reason": ERASED},
    "imports": {"uid": ID, "created_by": ADMIN, "state": WORD, "absent": WORD, "columns": SETTING, "summary": WORD},
    "listeners": {"plugin": WORD},
    "long_changes": {"uid": ID, "kind": WORD, "path": SETTING, "principal": ADMIN, "request_id": ID},
    "mapping_rules": {"value": SETTING},
    "organizations": {
        "uid": ID, "name": SETTING, "plan": SETTING, "domains": SETTING, "payment": WORD, "billing_url": SETTING,
        "contact_url": SETTING, "sso": SETTING, "outside_domains": WORD,
    },
    "publications": {},
    "published_events": {},
    "removals": {},
    "removed_grants": {"source": ERASED},
    "revoked_tokens": {"digest": SECRET, "label": SETTING, "prefix": SECRET},
    "schema_migration": {},
    "signing_keys": {"kid": ID, "private": SECRET, "public": SECRET},
    "tallies": {"resource": WORD},
    "tokens": {"uid": ID, "label": SETTING, "prefix": SECRET, "digest": SECRET},
    "traces": {
        "request_id": ERASED, "connection_uid": ERASED, "user_uid": ERASED, "request": ERASED, "response": ERASED,
        "steps": ERASED,
    },
    "user_blocks": {},
    "users": {
        "uid": ID, "user_name": ERASED, "user_name_key": ERASED, "external_id": ERASED, "display": ERASED,
        "display_key": ERASED, "doc": ERASED, "doc_key": ERASED,
    },
    "waiting_members": {"user_uid": ERASED},
    "walks": {"query": "a digest of a filter"},
    "webhook_attempts": {
        "type": WORD, "message_id": ID, "outcome": WORD, "error": "a sentence of the gateway's own", "response": ERASED,
    },
    "webhook_parked": {"error": ERASED},
    "webhook_positions": {"lease_holder": ID},
    "webhooks": {
        "uid": ID, "owner": WORD, "url": SETTING, "format": WORD, "types": WORD, "state": WORD, "reason": WORD,
        "secret": SECRET, "old_secret": SECRET, "created_by": ADMIN,
    },
}  # fmt: skip
#: Tables of the engine itself.
OF_THE_ENGINE = frozenset({"sqlite_sequence"})
