"""The commands of one process: what they print, and that each mistake is reported in a sentence."""

from __future__ import annotations

import json
import re
import socket

import click
import pytest

from gateway.cli import main
from gateway.store.engine.base import MIGRATIONS
from gateway.testing import Deployment, Scim

#: Of the migrations, in their order.
NAMES = [file.stem for file in sorted(MIGRATIONS.glob("0*.py"))]


def commands(group: click.Group, *path: str):
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


@pytest.mark.parametrize("path", [(), *commands(main)], ids=" ".join)
def test_every_command_explains_itself(gateway, path):
    result = gateway(*path, "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: ")


#: Each command that only shows, and whether it needs a database. `simulate`, `listen` and `conformance` call a server.
SHOWING = {
    "plugins": True,
    "plugins --json": True,
    "--version": True,
    "admin-token list": False,
    "admin-token list --json": False,
    "simulate okta --base-url {url} --token t": False,
    "listen --forward-to http://localhost:3000/ --url {url} --token t": False,
    "conformance okta --base-url {url} --token t": False,
    "backup {folder}/copy": False,
    "serve": False,
    "deliver": False,
    "admin-token create --name acme": False,
    "admin-token revoke acme": False,
    "try okta": False,
    "import acme {file}": False,
    "export acme {folder}/acme.zip": False,
}


@pytest.mark.parametrize(("typed", "shows"), SHOWING.items())
def test_a_command_that_shows_or_finds_no_database_writes_nothing(gateway, instance, tmp_path, typed, shows):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/scim/v2/acme"
    result = gateway(*typed.format(url=url, folder=tmp_path, file=__file__).split())
    assert (result.exit_code == 0) is shows, result.output
    assert not instance.exists()
    assert list(tmp_path.iterdir()) == []


def test_every_command_that_shows_is_in_the_table():
    making = {"migrate", "restore", "restored", "demo", "plugin", "plugin new", "admin-token"}
    looked_at = {" ".join(typed.split("{")[0].split(" --")[0].split()) for typed in SHOWING}
    for path in commands(main):
        name = " ".join(path)
        assert name in making or any(f"{each} ".startswith(f"{name} ") for each in looked_at), name


@pytest.mark.sqlite
def test_each_command_says_which_database_it_used(gateway, instance, tmp_path):
    line = f"Database: {instance / 'gateway.sqlite3'}\n"
    for command in ("migrate", "migrate", "migrate --json", "admin-token list", "admin-token list --json"):
        result = gateway(*command.split())
        assert (result.exit_code, result.stderr) == (0, line), command
        assert "Database:" not in result.stdout
    made = gateway("admin-token", "create", "--name", "acme")
    assert made.stderr.startswith(line)
    for command in ("try okta", f"backup {tmp_path / 'copy'}"):
        assert line in gateway(*command.split()).stderr
    assert str(instance) in gateway("restore", str(tmp_path / "copy")).stdout


MISTAKES = [
    # what was typed, settings, words of the sentence
    ("serve", {}, "gateway.sqlite3. Run `gateway migrate` first."),
    ("admin-token list", {}, "Run `gateway migrate` first."),
    ("admin-token create --name x", {}, "Run `gateway migrate` first."),
    ("migrate", {"GATEWAY_RATE_LIMIT": "many"}, "rate_limit must be a whole number"),
    ("migrate", {"GATEWAY_RATE_LIMIT": "0.5"}, "rate_limit must be a whole number from 0 on, not '0.5'."),
    ("migrate", {"GATEWAY_WORKERS": "true"}, "workers must be a whole number from 0 on, not 'true'."),
    (
        "migrate",
        {"GATEWAY_PUBLIC_URL": "scim.acme.test"},
        "public_url must be http:// or https:// with a host",
    ),
    ("migrate", {"GATEWAY_PUBLIC_URL": "https://acme.test/?a=b"}, "public_url must be http:// or https://"),
    ("migrate", {"GATEWAY_PUBLIC_URL": "ftp://acme.test"}, "public_url must be http:// or https://"),
    ("migrate", {"GATEWAY_SECRET_KEY": "k" * 31}, "secret_key has fewer than 32 characters"),
    ("serve", {"GATEWAY_ADMIN_TOKEN": "t" * 31}, "admin_token has fewer than 32 characters"),
    ("serve", {"GATEWAY_DATABASE_URL": "mysql://acme.test/x"}, "GATEWAY_DATABASE_URL begins with 'mysql'"),
    ("migrate", {"GATEWAY_INSTANCE": "/dev/null"}, "/dev/null"),
    ("plugins", {"GATEWAY_INSTANCE": "/dev/null/x"}, "/dev/null/x"),
    (
        "simulate oktopus --base-url http://acme.test --token t",
        {},
        "No plugin is an identity provider called 'oktopus'",
    ),
    ("simulate billing --base-url http://acme.test --token t", {}, "identity provider called 'billing'"),
    ("simulate generic --base-url http://acme.test --token t", {}, "The plugin generic brings no simulator."),
    ("simulate okta --base-url acme.test --token t", {}, "'acme.test' is no base URL"),
    ("simulate okta --base-url http://acme.test:port/ --token t", {}, "Port could not be cast"),
    ("simulate okta --base-url http://acme.test --token ü", {}, "characters that no HTTP header can carry"),
    ("simulate okta --base-url http://acme.test --token t --style x", {}, "in the styles oin, aiw, not 'x'"),
]


@pytest.mark.parametrize(("typed", "settings", "words"), MISTAKES)
def test_a_mistake_is_told_in_one_sentence(gateway, monkeypatch, typed, settings, words):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    result = gateway(*typed.split())
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["true", "0.5", "2.0"])
def test_a_number_in_the_file_is_a_whole_number(gateway, instance, value):
    instance.mkdir()
    (instance / "config.toml").write_text(f"rate_limit = {value}")
    assert "rate_limit must be a whole number from 0 on" in gateway("plugins").stderr


def test_a_variable_that_nothing_reads_is_named_with_the_nearest_one(gateway, monkeypatch):
    monkeypatch.setenv("GATEWAY_RATE_LIMITS", "3")
    monkeypatch.setenv("GATEWAY_BILLING_SCIM_PLANS", "enterprise")
    monkeypatch.setenv("GATEWAY_KILLS", "3")
    result = gateway("plugins", "--json")
    assert result.exit_code == 0
    sentence = "Nothing reads the environment variable GATEWAY_RATE_LIMITS. Is GATEWAY_RATE_LIMIT meant?"
    assert result.stderr == f"Warning: {sentence}\n"


@pytest.mark.parametrize(
    "url", ["sesame", "user:sesame@db.acme.test/x", "postgres://user:sesame@db.acme.test/x"]
)
def test_a_malformed_database_url_never_shows_its_password(gateway, monkeypatch, url):
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)
    result = gateway("migrate")
    assert result.exit_code == 1
    assert "must be sqlite:///<path> or postgresql://" in result.stderr
    assert "sesame" not in result.output


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://user:sesame@db.acme.test:port/x", "cannot be read"),
        ("postgresql://user:ses#ame@db.acme.test:se/same", "cannot be read"),
        ("postgresql://user:sesame@db.acme.test/x?colour=sesame", "has an option 'colour'"),
        ("postgresql://user:sesame%zz@db.acme.test/x", "cannot be read"),
        ("postgresql://[::1:sesame/x", "cannot be read"),
    ],
)
def test_a_url_that_the_driver_refuses_never_shows_its_password(gateway, monkeypatch, url, words):
    monkeypatch.setenv("GATEWAY_DATABASE_URL", url)
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "k" * 40)
    result = gateway("migrate")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert words in result.stderr
    assert "same" not in result.output.replace("the same", "")


def test_a_setting_that_does_not_exist_is_named(gateway, instance):
    instance.mkdir()
    (instance / "config.toml").write_text("rate_limits = 3")
    assert "a setting 'rate_limits' that does not exist" in gateway("plugins").stderr


def test_a_server_that_does_not_answer_is_named(gateway):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = gateway("simulate", "okta", "--base-url", f"http://127.0.0.1:{port}/scim", "--token", "t")
    assert result.exit_code == 1
    assert result.stderr == f"Error: No server answers at http://127.0.0.1:{port}/scim: connection refused.\n"


def test_to_migrate_says_what_was_applied_and_then_that_nothing_is_left(gateway):
    reported = gateway("migrate").stdout
    assert re.findall(r"^Applied (\w+) in \d+\.\d s\.$", reported, re.MULTILINE) == NAMES
    assert gateway("migrate").stdout == "Nothing to do: the database has the newest schema.\n"


def test_to_migrate_tells_programs_what_was_applied(gateway):
    reported = gateway("migrate", "--json")
    applied = json.loads(reported.stdout)["applied"]
    assert [each["name"] for each in applied] == NAMES
    assert re.fullmatch(r"Database: \S+/gateway.sqlite3\n", reported.stderr)
    assert all(each["seconds"] > 0 for each in applied)
    assert json.loads(gateway("migrate", "--json").stdout) == {"applied": []}


def test_a_simulation_leaves_nothing_in_the_instance(gateway, instance):
    gateway("simulate", "okta", "--base-url", "http://127.0.0.1:1", "--token", "t")
    assert not instance.exists()


def test_plugins_are_shown_with_what_they_implement(gateway):
    shown = {each["name"]: each for each in json.loads(gateway("plugins", "--json").stdout)}
    assert (shown["okta"]["idp"], shown["billing"]["idp"]) == (True, False)
    assert "gateway_check_seats" in shown["billing"]["hooks"]
    assert "gateway_map_patch" in gateway("plugins").stdout


FILES = [
    "README.md",
    "pyproject.toml",
    "setup.cfg",
    "gateway_acme2/__init__.py",
    "gateway_acme2/py.typed",
    "tests/test_acme2.py",
]


@pytest.mark.parametrize(
    ("kind", "more", "hooks"),
    [
        ("idp", ["gateway_acme2/transcripts/assign.json"], ["declare", "map_resource", "map_patch"]),
        ("listener", [], ["provisioned"]),
        ("auth", [], ["declare", "authenticate"]),
    ],
)
def test_a_new_plugin_is_written_whole_and_never_over_another(
    gateway, tmp_path, monkeypatch, kind, more, hooks
):
    monkeypatch.chdir(tmp_path)
    typed = () if kind == "idp" else ("--kind", kind)
    assert gateway("plugin", "new", "acme2", *typed, "--title", "Acme & Co").stdout.startswith(
        "Wrote gateway-acme2."
    )
    folder = tmp_path / "gateway-acme2"
    written = {
        str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()
    }
    assert sorted(written) == sorted(FILES + more)
    assert [name for name, text in written.items() if "$" in text] == []
    assert [name for name, text in written.items() if "Acme & Co" in text and "py" not in name] != []
    assert re.findall(r"^def gateway_(\w+)", written["gateway_acme2/__init__.py"], re.MULTILINE) == hooks
    assert ("transcripts" in written["setup.cfg"]) == (kind == "idp")
    again = gateway("plugin", "new", "acme2", *typed)
    assert (again.exit_code, again.stderr) == (
        1,
        "Error: gateway-acme2 exists already; name another folder with --into.\n",
    )


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("Acme",), "'Acme' cannot be the name of a plugin: take lower-case letters and digits"),
        (("acme-2",), "'acme-2' cannot be the name of a plugin"),
        (("../acme",), "'../acme' cannot be the name of a plugin"),
        (("a" * 41,), "a letter first and 40 at most"),
        (("",), "'' cannot be the name of a plugin"),
        (("okta",), "A plugin called okta is installed already; take another name."),
        (("generic",), "A plugin called generic is installed already"),
        (("acme", "--title", " "), "The title of a plugin cannot be empty."),
        (("acme", "--title", "x" * 61), "The title of a plugin has 61 characters; take 60 at most."),
        (("acme", "--title", 'A"B'), "The title of a plugin cannot hold '\"'"),
        (("acme", "--title", "A{B}"), "The title of a plugin cannot hold '{'"),
        (("acme", "--title", "A\nB"), "The title of a plugin cannot hold '\\n'"),
        (("acme", "--title", "A\udcffB"), "The title of a plugin cannot hold '\\udcff'"),
        (("acme", "--into", "there"), "there exists already; name another folder with --into."),
        (("acme", "--into", "file/below"), "file"),
    ],
)
def test_a_new_plugin_that_cannot_be_is_told_in_a_sentence_and_nothing_is_written(
    gateway, tmp_path, monkeypatch, typed, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    refused = gateway("plugin", "new", *typed)
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert words in refused.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "there"]


def test_a_kind_of_plugin_that_there_is_not_is_told_with_those_that_there_are(gateway, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused = gateway("plugin", "new", "acme", "--kind", "billing")
    assert (refused.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "'billing' is not one of 'idp', 'listener', 'auth'." in refused.stderr


# Admin tokens ------------------------------------------------------------------------------------------------------


@pytest.fixture
def deployment(instance):
    deployment = Deployment(instance)
    yield deployment
    deployment.close()


def test_a_token_stands_alone_on_stdout_and_opens_everything_until_it_is_revoked(gateway, deployment):
    made = gateway("admin-token", "create", "--name", "ci")
    token = made.stdout.strip()
    assert made.stdout == f"{token}\n"
    assert "opens all organizations" in made.stderr
    assert token not in made.stderr
    assert deployment.admin("GET", "/organizations", token=token).status == 200

    (shown,) = json.loads(gateway("admin-token", "list", "--json").stdout)
    assert (shown["name"], shown["organization"], token.startswith(shown["prefix"])) == ("ci", None, True)
    assert token not in gateway("admin-token", "list").stdout
    assert gateway("admin-token", "revoke", shown["id"]).exit_code == 0
    assert deployment.admin("GET", "/organizations", token=token).status == 401


def test_a_token_of_one_organization_opens_that_alone(gateway, deployment):
    acme, other = deployment.organization(), deployment.organization("Other")
    made = gateway("admin-token", "create", "--name", "acme", "--organization", acme.uid)
    token = made.stdout.strip()
    assert deployment.admin("GET", f"/organizations/{acme.uid}", token=token).status == 200
    assert deployment.admin("GET", f"/organizations/{other.uid}", token=token).status == 404
    (shown,) = json.loads(gateway("admin-token", "list", "--json").stdout)
    assert shown["organization"] == acme.uid


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("create", "--name", "x", "--organization", "nobody"), "no organization with the id 'nobody'"),
        (("create", "--name", "x", "--organization", ""), "no organization with the id ''"),
        (("create", "--name", " "), "The name of a token cannot be empty."),
        (("create", "--name", "x" * 201), "has 201 characters; at most 200 are kept."),
        (("create", "--name", "a\nb"), "The name of a token holds the control character U+000A"),
        (("create", "--name", "operator"), "The name 'operator' is reserved"),
        (("revoke", "nothing"), "no admin token with the id 'nothing'"),
    ],
)
def test_an_unknown_id_makes_and_revokes_nothing(gateway, deployment, typed, words):
    result = gateway("admin-token", *typed)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert json.loads(gateway("admin-token", "list", "--json").stdout) == []


def test_a_token_with_a_scope_and_an_expiry_is_made_listed_and_revoked_for_programs(gateway, deployment):
    acme = deployment.organization()
    typed = ("--name", "app", "--organization", acme.uid, "--scope", "events", "--expires-in-days", "30")
    reported = gateway("admin-token", "create", *typed, "--json")
    made = json.loads(reported.stdout)
    assert (made["scope"], made["organization"]) == ("events", acme.uid)
    assert re.fullmatch(r"Database: \S+\n", reported.stderr)
    token = made.pop("token")
    assert deployment.admin("GET", f"/organizations/{acme.uid}/events", token=token).status == 200
    assert deployment.admin("GET", f"/organizations/{acme.uid}/users", token=token).status == 403

    (shown,) = json.loads(gateway("admin-token", "list", "--json").stdout)
    assert (shown["expires_at"], shown["expired"]) == (made["expires_at"], False)
    deployment.gateway.store.database.run("UPDATE admin_tokens SET expires = 1")
    assert "(expired)" in " ".join(gateway("admin-token", "list").stdout.split())
    revoked = json.loads(gateway("admin-token", "revoke", shown["id"], "--json").stdout)
    assert (revoked["id"], revoked["expired"]) == (shown["id"], True)
    assert json.loads(gateway("admin-token", "list", "--json").stdout) == []

    lines = [line for line in deployment.activity(acme) if "admin-token" in line.operation]
    assert [(line.operation, line.principal, line.target_uid) for line in lines] == [
        ("gateway admin-token revoke", "operator", made["id"]),
        ("gateway admin-token create", "operator", made["id"]),
    ]


def test_what_a_token_opens_is_said_beside_it(gateway, deployment):
    made = gateway("admin-token", "create", "--name", "x", "--scope", "read", "--expires-in-days", "1")
    assert re.search(r" reads all organizations until 20\S+Z\. Keep it", made.stderr)
    assert gateway("admin-token", "create", "--name", "x", "--scope", "write").exit_code == 2
    assert gateway("admin-token", "create", "--name", "x", "--expires-in-days", "0").exit_code == 2
    assert len(json.loads(gateway("admin-token", "list", "--json").stdout)) == 1


def test_a_plugin_is_tried_with_one_command(gateway, instance):
    assert gateway("migrate").exit_code == 0
    made = json.loads(gateway("try", "okta", "--organization", "Trial", "--json").stdout)
    deployment = Deployment(instance)
    scim = Scim(deployment, made["connection"], made["token"])
    assert made["base_url"] == f"http://127.0.0.1:8000{scim.base}"
    assert scim.user()["active"] is True
    assert scim.organization.name == "Trial"
    # What tests a connection removes more people than a limit lets pass.
    for number in range(12):
        uid = scim.user(f"leaver{number}@acme.test")["id"]
        assert scim.call("DELETE", f"/Users/{uid}").status == 204
    deployment.close()
    reported = gateway("try", "okta").stdout
    assert re.findall(r"^(\w+)", reported, re.MULTILINE) == [
        "organization",
        "connection",
        "base_url",
        "token",
    ]
    refused = gateway("try", "nobody")
    assert refused.exit_code == 1
    assert "No plugin for the identity provider 'nobody' is loaded; there are " in refused.stderr
