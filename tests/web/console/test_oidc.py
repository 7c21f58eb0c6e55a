"""Operators sign in by OpenID Connect: who has the claim comes in, and every other answer is a sentence."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from werkzeug.test import Client, EnvironBuilder, TestResponse

from gateway import config
from gateway.config import ConfigurationError
from gateway.testing import Deployment
from gateway.web.console import openid_provider as client_module
from gateway.web.queues import Queued
from tests.support.openid import CLIENT, SECRET, ProviderOfTests, openid_provider, unsigned

CLAIM = "groups=gateway-operators"
ANSWER = "/console/oidc/answer"


@pytest.fixture
def provider() -> Iterator[ProviderOfTests]:
    with openid_provider() as provider:
        provider.claims = {"groups": ["staff", "gateway-operators"]}
        yield provider


def settings(provider: ProviderOfTests) -> dict[str, Any]:
    return {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_operator_claim": CLAIM,
    }


@pytest.fixture
def deployment(provider: ProviderOfTests, tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path / "instance", **settings(provider))
    yield deployment
    deployment.close()


@pytest.fixture
def browser(deployment: Deployment) -> Client:
    return deployment.app.test_client()


def send_to_provider(browser: Client) -> str:
    """Begin a sign-in; return the path with which the provider sends the browser back."""
    begun = browser.get("/console/oidc")
    assert begun.status_code == 303, begun.text
    back = requests.get(begun.headers["Location"], allow_redirects=False, timeout=5)
    assert back.status_code == 302
    location = urlsplit(back.headers["Location"])
    assert (location.netloc, location.path) == ("localhost", ANSWER)
    return f"{location.path}?{location.query}"


def sign_in(browser: Client) -> TestResponse:
    return browser.get(send_to_provider(browser))


def sentence(answer: TestResponse) -> str:
    """The sentence of a refusal, on the page to sign in."""
    assert answer.mimetype == "text/html"
    assert "Admin token" in answer.text
    assert 'class="secondary" href="/console/oidc"' in answer.text
    found = re.search(r'role="alert">(.*?)</p>', answer.text, re.DOTALL)
    assert found, answer.text
    return found[1]


def is_signed_in(browser: Client) -> bool:
    page = browser.get("/console/")
    return "Sign out" in page.text


def test_operator_signs_in(
    deployment: Deployment, browser: Client, provider: ProviderOfTests, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert "Sign in with 127.0.0.1" in browser.get("/console/").text
    answer = sign_in(browser)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/")
    assert is_signed_in(browser)
    assert "00u1 (operator)" in browser.get("/console/").text
    (session,) = deployment.gateway.store.console_sessions.newest(None, 10)
    assert (session.person, session.role, session.organization_id) == ("00u1", "operator", None)
    assert session.source.startswith(f"oidc {provider.issuer}")
    cookies = "; ".join(answer.headers.getlist("Set-Cookie"))
    assert "gateway-sign-in=;" in cookies
    assert cookies.count("HttpOnly") == cookies.count("SameSite=Lax") == 2
    # No other logger says what was sent either, on whatever level.
    written = " ".join(record.getMessage() for record in caplog.records)
    for secret in (SECRET, "id_token", "access_token", "code_verifier"):
        assert secret not in written
    # A JSON Web Token; a random value may hold the beginning of one by chance.
    assert not re.search(r"eyJ[\w-]+\.eyJ", written)


@pytest.mark.parametrize(
    ("claims", "person"),
    [
        ({"email": "op@acme.test", "email_verified": True}, "op@acme.test"),
        ({"email": "op@acme.test", "email_verified": False}, "00u1"),
        ({"email": "op@acme.test"}, "00u1"),
        ({"email": "op@acme.test", "email_verified": "true"}, "00u1"),
        ({"groups": "gateway-operators"}, "00u1"),
    ],
)
def test_person_is_a_verified_address_or_the_subject(
    deployment: Deployment, browser: Client, provider: ProviderOfTests, claims: dict[str, Any], person: str
) -> None:
    provider.claims |= claims
    assert sign_in(browser).status_code == 303
    (session,) = deployment.gateway.store.console_sessions.newest(None, 10)
    assert session.person == person


@pytest.mark.parametrize(
    "groups",
    [None, [], ["staff"], "gateway-operators-of-others", {"gateway-operators": True}, [None], True, 1],
)
def test_account_without_the_claim_is_refused(
    browser: Client, provider: ProviderOfTests, groups: Any
) -> None:
    provider.claims["groups"] = groups
    answer = sign_in(browser)
    assert answer.status_code == 403
    words = sentence(answer)
    assert "the claim &#39;groups&#39; of your account" in words
    assert "gateway-operators" not in words
    assert not is_signed_in(browser)


def other_key(claims: dict[str, Any]) -> str:
    key = RSAKey.generate_key(2048, {"kid": "first"}, private=True)
    return jwt.encode({"alg": "RS256", "kid": "first"}, claims, key)


def by_the_secret(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET))


@pytest.mark.parametrize(
    ("claims", "sign", "why"),
    [
        ({"nonce": "another"}, None, "belongs to another sign-in"),
        ({"nonce": None}, None, "belongs to another sign-in"),
        ({"nonce": ["a", "b"]}, None, "belongs to another sign-in"),
        ({"iss": "https://other.acme.test"}, None, "not for this gateway"),
        ({"iss": None}, None, "not for this gateway"),
        ({"aud": "another"}, None, "not for this gateway"),
        ({"aud": [CLIENT, "another"]}, None, "issued to another client"),
        ({"azp": "another"}, None, "issued to another client"),
        ({"sub": None}, None, "not for this gateway"),
        ({"sub": ""}, None, "not for this gateway"),
        ({"exp": int(time.time()) - 3600}, None, "has expired"),
        ({"exp": None}, None, "not for this gateway"),
        ({"exp": float("nan")}, None, "not for this gateway"),
        ({"iat": int(time.time()) + 3600}, None, "not for this gateway"),
        ({}, unsigned, "signature"),
        ({}, other_key, "signature"),
        ({}, by_the_secret, "signature"),
        ({}, lambda claims: "no token at all", "signature"),
        ({}, lambda claims: None, "sent no ID token"),
        ({}, lambda claims: 7, "sent no ID token"),
    ],
)
def test_token_that_is_not_for_this_sign_in_is_refused(
    browser: Client,
    provider: ProviderOfTests,
    claims: dict[str, Any],
    sign: Callable[[Any], str] | None,
    why: str,
) -> None:
    provider.claims |= claims
    provider.sign = sign or provider.sign
    answer = sign_in(browser)
    assert answer.status_code == 401
    assert why in sentence(answer)
    assert not is_signed_in(browser)


def test_answer_is_taken_once_and_from_the_browser_that_began(
    deployment: Deployment, browser: Client, provider: ProviderOfTests
) -> None:
    other = deployment.app.test_client()
    send_to_provider(other)
    path = send_to_provider(browser)
    refused = other.get(path)
    assert "belongs to another sign-in" in sentence(refused)
    stranger = deployment.app.test_client()
    assert "began no sign-in" in sentence(stranger.get(path))
    called = list(provider.called)
    assert "began no sign-in" in sentence(other.get(path))  # its attempt is over
    assert provider.called == called
    assert browser.get(path).status_code == 303
    assert "began no sign-in" in sentence(browser.get(path))
    assert [is_signed_in(each) for each in (browser, other, stranger)] == [True, False, False]


@pytest.mark.parametrize(
    "change", ["state=x&", "iss=https://other.acme.test&", "error=access_denied&", "code=&"]
)
def test_changed_answer_is_refused(browser: Client, change: str) -> None:
    name = change.partition("=")[0]
    path = re.sub(rf"\b{name}=[^&]*&?", "", send_to_provider(browser))
    answer = browser.get(path.replace("?", f"?{change}"))
    assert answer.status_code == 401
    assert sentence(answer).startswith("You were not signed in: ")
    assert not is_signed_in(browser)


def test_code_of_another_sign_in_is_refused(deployment: Deployment, browser: Client) -> None:
    """A code that was issued to somebody else fits neither the verifier nor the nonce of this browser."""
    foreign = re.search(r"code=([^&]+)", send_to_provider(deployment.app.test_client()))
    assert foreign
    path = re.sub(r"code=[^&]+", foreign[0], send_to_provider(browser))
    assert "did not accept the code" in sentence(browser.get(path))


def test_hostile_error_is_shown_as_text(browser: Client, provider: ProviderOfTests) -> None:
    provider.error = "<img src=x onerror=alert(1)>"
    answer = sign_in(browser)
    assert "<img" not in answer.text
    assert "&lt;img" in sentence(answer)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys"])
@pytest.mark.parametrize("answer", [500, 302, ["no object"]])
def test_provider_that_is_out_of_order_is_asked_once_in_a_while(
    browser: Client, provider: ProviderOfTests, path: str, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.answers[path] = answer
    for _ in range(3):
        refused = browser.get("/console/oidc")
        assert refused.status_code == 503
        assert "127.0.0.1 cannot be reached" in sentence(refused)
    assert provider.called.count(path) == 1
    del provider.answers[path]
    monkeypatch.setattr(client_module, "FAILURE_HOLDS", 0.0)
    assert sign_in(browser).status_code == 303


def test_provider_that_fails_meanwhile_is_a_sentence(browser: Client, provider: ProviderOfTests) -> None:
    path = send_to_provider(browser)
    provider.answers["/token"] = 503
    assert "cannot be reached" in sentence(browser.get(path))


def test_provider_that_is_silent_is_given_up(
    browser: Client, provider: ProviderOfTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PATIENCE", 0.1)
    provider.pause = 1.0
    assert "did not answer in time" in sentence(browser.get("/console/oidc"))


@pytest.mark.parametrize("path", ["/console/oidc", f"{ANSWER}?code=x&state=y"])
def test_provider_is_asked_in_the_queue_of_expensive_requests_alone(
    deployment: Deployment, provider: ProviderOfTests, path: str
) -> None:
    request = deployment.app.identify(EnvironBuilder(path).get_environ())
    with pytest.raises(Queued) as queued:
        deployment.app.respond(request)
    assert queued.value.queue == "expensive"
    assert provider.called == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": "https://other.acme.test"}, "calls itself another issuer"),
        ({"token_endpoint": "http://other.acme.test/token"}, "names no token_endpoint with https://"),
        ({"jwks_uri": None}, "names no jwks_uri"),
    ],
)
def test_metadata_that_lead_elsewhere_are_refused(
    browser: Client, provider: ProviderOfTests, change: dict[str, Any], why: str
) -> None:
    provider.answers["/.well-known/openid-configuration"] = provider.metadata() | change
    answer = browser.get("/console/oidc")
    assert answer.status_code == 401
    assert why in sentence(answer)


def test_metadata_are_read_once_and_keys_again_when_they_change(
    deployment: Deployment, browser: Client, provider: ProviderOfTests
) -> None:
    assert sign_in(browser).status_code == 303
    assert sign_in(deployment.app.test_client()).status_code == 303
    assert provider.called.count("/.well-known/openid-configuration") == provider.called.count("/keys") == 1
    provider.new_key("second")
    assert sign_in(deployment.app.test_client()).status_code == 303
    assert sign_in(deployment.app.test_client()).status_code == 303
    assert provider.called.count("/keys") == 2


def test_session_ends_when_the_issuer_or_the_claim_changes(
    deployment: Deployment, browser: Client, provider: ProviderOfTests
) -> None:
    assert sign_in(browser).status_code == 303
    cookie = browser.get_cookie("gateway")
    assert cookie
    same = {"secret_key": deployment.gateway.config.secret_key}
    same |= {"database_url": deployment.gateway.config.database_url} | settings(provider)
    for change, stays in (
        ({}, True),
        ({"oidc_issuer": "https://other.acme.test"}, False),
        ({"oidc_operator_claim": "groups=others"}, False),
        (dict.fromkeys(settings(provider), ""), False),
    ):
        restarted = Deployment(deployment.gateway.config.instance, **same | change)
        client = restarted.app.test_client()
        client.set_cookie("gateway", cookie.value)
        assert is_signed_in(client) is stays, change
        restarted.gateway.close()
    assert is_signed_in(browser)


def test_deployment_without_a_provider_has_no_button(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path / "plain")
    try:
        client = deployment.app.test_client()
        assert "oidc" not in client.get("/console/").text
        assert client.get("/console/oidc").status_code == 404
        assert client.get(f"{ANSWER}?code=x&state=y").status_code == 404
    finally:
        deployment.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"oidc_operator_claim": ""}, "everybody who can sign in there would be one"),
        ({"oidc_operator_claim": "groups"}, "oidc_operator_claim does not say who is an operator"),
        ({"oidc_operator_claim": "=x"}, "oidc_operator_claim does not say who is an operator"),
        ({"oidc_client_id": ""}, "oidc_client_id is not"),
        ({"oidc_client_secret": ""}, "oidc_client_secret is not"),
        ({"oidc_issuer": "http://login.acme.test"}, "must be the https:// address"),
        ({"oidc_issuer": "https://login.acme.test?x"}, "must be the https:// address"),
        ({"oidc_issuer": ""}, "which it belongs to, is not"),
    ],
)
def test_incomplete_settings_are_refused_at_start(tmp_path: Path, change: dict[str, str], words: str) -> None:
    complete = {
        "oidc_issuer": "https://login.acme.test",
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_operator_claim": CLAIM,
    }
    loaded = config.load({"instance": tmp_path, **complete}, {})
    assert SECRET not in repr(loaded)
    with pytest.raises(ConfigurationError, match=words):
        config.load({"instance": tmp_path, **complete, **change}, {})
