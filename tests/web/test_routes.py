"""URL builders of routes are compiled when they are first used, and build what werkzeug's own do."""

from flask import url_for
from werkzeug import routing


def test_an_application_compiles_the_builders_of_urls_that_it_builds_and_no_others(monkeypatch, deployment):
    compiled = []
    usual = routing.Rule._compile_builder

    def count(rule, append_unknown=True):
        compiled.append(rule.rule)
        return usual(rule, append_unknown)

    monkeypatch.setattr(routing.Rule, "_compile_builder", count)
    deployment.app.add_url_rule("/things/<uid>/parts/<int:part>", "thing", lambda uid, part: "")
    assert compiled == []
    with deployment.app.test_request_context():
        for uid in ("ä b", "c"):
            assert url_for("thing", uid=uid, part=2, more="x y").endswith("/parts/2?more=x+y")
        assert url_for("thing", uid="ä b", part=2) == "/things/%C3%A4%20b/parts/2"
    assert compiled == ["/things/<uid>/parts/<int:part>"]
