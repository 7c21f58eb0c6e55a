"""A plugin that breaks a promise is found out by that promise, and by no other.

Each is installed beside the core, as modules and their metadata, and all are tried in one run of pytest.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

IMPORTS = """
from pathlib import Path
from marshmallow import Schema, fields
from gateway import *
from gateway.simulation import *
"""
#: An identity provider that keeps every promise of the examples below.
RIGHT = """
def declaration(**changes):
    given = {"title": "T", "idp": True, "setup_steps": lambda c: [f"Enter {c.base_url} there."]}
    return Declaration(**{**given, "transcripts": Path(__file__).with_name("transcripts"), **changes})

@hookimpl
def gateway_declare():
    return declaration()
"""
USER = '{"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "user1@acme.test"'
PLAIN = f"documents = {{'plain': Document({USER}}})}}"
RETITLED = "[{'op': 'replace', 'path': 'title', 'value': 'y'}]"


def declares(changes):
    """The same, but for what it declares."""
    return RIGHT.replace("return declaration()", f"return declaration({changes})")


MAP = "@hookimpl\ndef gateway_map_resource(connection, document, resource_type):\n"
PATCH = "@hookimpl\ndef gateway_map_patch(operations, current):\n"
SEATS = "@hookimpl\ndef gateway_check_seats(organization, request):\n    limit = organization.seats.limit\n"
PLANS = "@hookimpl\ndef gateway_check_entitlement(organization, feature):\n"
GUARD = "@hookimpl\ndef gateway_guard_change(user, change):\n"
GROUPS = "@hookimpl\ndef gateway_resolve_groups(user):\n"
HEARS = "@hookimpl\ndef gateway_provisioned(event):\n"
MEND = "f'{organization.name}: no seat for {request.user_name}.'"
GUIDES = f"users = {{'a guide': Resolved({USER}, 'title': 'Guide'}}, {{'Guides'}})}}"

BROKEN = {
    # name of the case: (hooks of the plugin, promises, examples, tests that fail)
    "nothing": (RIGHT, "IdpPromises", PLAIN, set()),
    "no_idp": (declares("idp=False"), "DeclarationPromises", "", {"identity_provider", "keeps_is_known"}),
    "no_steps": (
        declares("setup_steps=lambda c: ['Go']"),
        "DeclarationPromises",
        "",
        {"steps_are_sentences"},
    ),
    "keeps_nonsense": (
        declares("keeps=lambda s: ['no.such.path']"),
        "DeclarationPromises",
        "",
        {"keeps_is_known"},
    ),
    "open_door": (
        RIGHT + "@hookimpl\ndef gateway_authenticate():\n    return Principal('x')\n",
        "CredentialPromises",
        "",
        {"credentials_of_others", "wrong_token"},
    ),
    "loud": (
        RIGHT
        + "@hookimpl\ndef gateway_authenticate(credentials):\n"
        + "    import logging; logging.getLogger('loud').info(credentials.secret)\n",
        "CredentialPromises",
        "",
        {"wrong_token"},
    ),
    "meddler": (
        RIGHT + MAP + "    document['title'] = 'x'\n",
        "DialectPromises",
        PLAIN,
        {"document_becomes"},
    ),
    "toggle": (
        RIGHT + MAP + "    return {**document, 'title': document.get('title', '') + 'x'}\n",
        "DialectPromises",
        f"documents = {{'x': Document({USER}}}, {USER}, 'title': 'x'}})}}",
        {"becomes_is_left_alone"},
    ),
    "invalid": (
        RIGHT + MAP + "    return {**document, 'active': 'perhaps'}\n",
        "DialectPromises",
        f"documents = {{'x': Document({USER}}}, {USER}, 'active': 'perhaps'}})}}",
        {"passes_the_tables"},
    ),
    "curt": (
        RIGHT + MAP + "    raise InvalidValue('No')\n",
        "DialectPromises",
        f"documents = {{'x': Document({USER}}}, refused='No')}}",
        {"document_becomes", "junk_"},
    ),
    "server_error": (
        RIGHT + MAP + "    raise Unavailable('Try later.')\n",
        "DialectPromises",
        f"documents = {{'x': Document({USER}}}, refused='later')}}",
        {"document_becomes", "junk_"},
    ),
    "fickle": (
        RIGHT + "seen = []\n" + MAP + "    seen.append(1)\n"
        "    return {**document, 'title': 'x'} if len(seen) == 2 else None\n",
        "DialectPromises",
        PLAIN,
        {"document_becomes"},
    ),
    "valued_remove": (
        RIGHT + PATCH + "    return None\n",
        "DialectPromises",
        "patches = {'x': Patch([{'op': 'remove', 'path': 'members', 'value': []}], kind='Group')}",
        {"applied_by_the_core"},
    ),
    "changes_current": (
        RIGHT + PATCH + "    current['title'] = 'x'\n",
        "DialectPromises",
        f"patches = {{'x': Patch({RETITLED})}}",
        {"operations_become"},
    ),
    "no_transcripts": (
        declares("transcripts=None"),
        "TranscriptPromises",
        "",
        {"there_are_transcripts"},
    ),
    "blind_simulator": (
        declares("simulator=Simulator(('a',), lambda *_: iter([Step('p', 't', True)]), lambda options: 1)"),
        "SimulatorPromises",
        "",
        {"server_that_fails", "says_yes"},
    ),
    "miscounted": (
        declares("simulator=Simulator(('a',), run, lambda options: 2)") + "def run(session, options):\n"
        "    yield Step('p', 't', 'totalResults' in session.call('GET', '/Users').json, 'no list')\n",
        "SimulatorPromises",
        "",
        {"passes_the_simulator"},
    ),
    "guides": (
        GROUPS + "    return [GroupGrant('Guides')] if user.document.get('title') else None\n",
        "GroupPromises",
        GUIDES,
        set(),
    ),
    "no_guides": (
        GROUPS + "    return []\n",
        "GroupPromises",
        GUIDES,
        {"groups_and_again", "application_sees"},
    ),
    "changes_user": (
        GROUPS
        + "    title = user.document.pop('title', '')\n    return [GroupGrant('Guides')] if title else []\n",
        "GroupPromises",
        GUIDES,
        {"groups_and_again", "application_sees"},
    ),
    "plans": (
        PLANS + "    return Verdict(False, f'{organization.name} may not.') if feature == 'scim' else None\n",
        "EntitlementPromises",
        "denied = ('team',)",
        set(),
    ),
    "wordless": (
        PLANS + "    return Verdict(False)\n",
        "EntitlementPromises",
        "denied = ('team',)",
        {"denial_says", "word_for_word", "feature_that"},
    ),
    "guards": (
        GUARD
        + "    return Verdict(False, 'The owner stays.') if user.user_name.startswith('owner') else None\n",
        "GuardPromises",
        "guarded = {'an owner': ('owner@acme.test', 'delete')}; denial = 'stays'",
        set(),
    ),
    "forgets": (
        GUARD + "    return None\n",
        "GuardPromises",
        "guarded = {'an owner': ('owner@acme.test', 'rename')}",
        {"denied_change"},
    ),
    "seats": (
        SEATS + f"    return None if limit is None else SeatVerdict(limit, {MEND})\n",
        "SeatPromises",
        "",
        set(),
    ),
    "one_less": (
        SEATS + f"    return None if limit is None else SeatVerdict(str(limit), {MEND})\n",
        "SeatPromises",
        "",
        {"ceiling_and_a_sentence", "up_to_the_ceiling"},
    ),
    "no_reason": (
        SEATS + "    return None if limit is None else SeatVerdict(limit, 'No.')\n",
        "SeatPromises",
        "",
        {"ceiling_and_a_sentence"},
    ),
    "moody": (
        "moods = []\n" + SEATS + f"    moods.append(1)\n    return SeatVerdict(2 + len(moods) % 2, {MEND})\n",
        "SeatPromises",
        "limits = (3,)",
        {"same_question", "up_to_the_ceiling"},
    ),
    "deaf": (
        HEARS + "    {'user.created': 1}[event.type]\n",
        "ListenerPromises",
        "",
        {"every_event_may_come_twice_and_may_be_of_an_unknown_kind"},
    ),
}


def failures(folder):
    """The tests that failed, each with the plugin it was about."""
    lines = ["from gateway.testing import *"]
    (folder / "transcripts").mkdir()
    (folder / "transcripts" / "one.json").write_text(
        '{"title": "s", "source": "made up", "exchanges": [{"request": {"method": "GET", "path": "/Users"},'
        ' "expect": {"json": {"totalResults": 0}}}]}'
    )
    for name, (hooks, promises, examples, _) in BROKEN.items():
        (folder / f"gateway_{name}.py").write_text(IMPORTS + hooks)
        metadata = folder / f"gateway_{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gateway-{name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[gateway.plugins]\n{name} = gateway_{name}\n")
        lines += [f"class Test_{name}({promises}):", f"    plugin = {name!r}", f"    {examples}"]
    (folder / "test_all.py").write_text("\n".join(lines) + "\n")
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-rfE", "-W", "error", "test_all.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    return re.findall(r"^(?:FAILED|ERROR) test_all.py::Test_(\w+)::test_(\w+)", done.stdout, re.MULTILINE)


@pytest.mark.sqlite
def test_a_broken_promise_is_found_by_the_test_that_says_so_and_by_no_other(tmp_path):
    found = failures(tmp_path)
    wrong = {}
    for name, (*_, expected) in BROKEN.items():
        tests = {test for plugin, test in found if plugin == name}
        missing = {words for words in expected if not any(words in test for test in tests)}
        surplus = {test for test in tests if not any(words in test for words in expected)}
        if missing or surplus:
            wrong[name] = (missing, surplus)
    assert wrong == {}
