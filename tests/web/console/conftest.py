"""Fixtures of the console's tests: a deployment for a module, and its browsers."""

from __future__ import annotations

import pytest

from gateway.store.records import OrganizationRecord
from gateway.testing import Deployment
from tests.support.console import Browser, sign_in


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Deployment:
    """The deployment of the module; each test makes an organization of its own."""
    return shared_deployment


@pytest.fixture
def organization(deployment: Deployment) -> OrganizationRecord:
    """An organization with single sign-on and a plan that has provisioning."""
    return deployment.organization()


@pytest.fixture
def admin(deployment: Deployment, organization: OrganizationRecord) -> Browser:
    """A browser whose person may change everything of the organization."""
    return sign_in(deployment, organization)


@pytest.fixture
def viewer(deployment: Deployment, organization: OrganizationRecord) -> Browser:
    """A browser whose person may only look."""
    return sign_in(deployment, organization, "viewer")


@pytest.fixture
def operator(deployment: Deployment, organization: OrganizationRecord) -> Browser:
    """A browser of an operator, who looks at the organization."""
    browser = sign_in(deployment, None, "operator")
    browser.organization = organization
    return browser
