"""What an identity provider's plugin promises of the documents, PATCHes and filters that it translates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from gateway.scim.documents import CleanDocument, clean, is_empty
from gateway.scim.errors import Refusal
from gateway.scim.filters import parse_filter
from gateway.scim.members import split_members
from gateway.scim.operations import read_operations
from gateway.scim.patch import apply
from gateway.scim.schemas import PATCH_URN
from gateway.testing.deployment import Scim
from gateway.testing.examples import (
    Document,
    Patch,
    manager_with,
)
from gateway.testing.mutations import CASES, FULL, JUNK, Place, change_case, change_operation_case, places
from gateway.testing.promises.base import PluginPromises


class DialectPromises(PluginPromises):
    """The promises of a plugin that translates documents, PATCHes and filters."""

    documents: ClassVar[Mapping[str, Document]] = {}
    patches: ClassVar[Mapping[str, Patch]] = {}
    #: By a filter as it is sent, the plain one that it becomes; None where it is left alone.
    filters: ClassVar[Mapping[str, str | None]] = {}

    def test_a_document_becomes_what_it_should(self, document: Document) -> None:
        """It is translated, refused with the remedy, or left alone."""
        _check_example(document, self._resource(document.kind), document.sent)

    def test_what_a_document_becomes_passes_the_tables_of_the_core(self, document: Document) -> None:
        """Like any stranger's."""
        if not document.refused:
            answer = self._resource(document.kind)(copy.deepcopy(document.sent))
            kept = manager_with(self.plugin).declared.kept(self.words)
            kind = kept.user if document.kind == "User" else kept.group
            clean(kind, document.sent if answer is None else answer)

    def test_what_a_document_becomes_is_left_alone(self, document: Document) -> None:
        """Canonical is canonical: a translation is not translated again."""
        if document.becomes is not None:
            _check_example(
                Document(document.becomes, kind=document.kind),
                self._resource(document.kind),
                document.becomes,
            )

    def test_operations_become_what_they_should(self, patch: Patch) -> None:
        """They are translated, refused with the remedy, or left alone."""
        stored = copy.deepcopy(patch.stored)
        _check_example(patch, self._patch(patch, stored), patch.sent)
        assert stored == patch.stored, "the stored document was changed"

    def test_what_operations_become_is_applied_by_the_core(self, patch: Patch) -> None:
        """They are plain RFC 7644, and the result is a valid document."""
        if not patch.refused:
            answer = self._patch(patch, copy.deepcopy(patch.stored))(copy.deepcopy(patch.sent))
            self._apply(patch, patch.sent if answer is None else answer)

    def test_what_operations_become_is_left_alone(self, patch: Patch) -> None:
        """Canonical is canonical: a translation is not translated again."""
        if patch.becomes is not None:
            again = self._patch(patch, copy.deepcopy(patch.stored))(copy.deepcopy(patch.becomes))
            assert again in (None, patch.becomes)

    def test_filters_become_what_they_should(self) -> None:
        """They are translated to plain RFC 7644, once and for all, or left alone."""
        for sent, becomes in self.filters.items():
            assert (sent, self._filter(sent)) == (sent, becomes)
            if becomes is not None:
                parse_filter(becomes)
                assert self._filter(becomes) in (None, becomes)

    def test_junk_anywhere_in_a_document_is_refused_or_told(self, document: Document) -> None:
        """Null, a number, a text, an empty list: never a crash, and never accepted as what belongs there."""
        self._check_junk(document.sent, lambda sent: self._clean_document(document.kind, sent))

    def test_junk_anywhere_in_operations_is_refused_or_told(self, patch: Patch) -> None:
        """As in documents."""
        self._check_junk(patch.sent, lambda sent: self._clean_patched(patch, sent))

    @pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
    def test_names_of_a_document_mean_the_same_in_any_letter_case(
        self, document: Document, case: Callable[[str], str]
    ) -> None:
        """RFC 7643, 2.1: names are case insensitive."""
        again = self._clean_document(document.kind, change_case(document.sent, case))
        assert _comparable(again) == _comparable(self._clean_document(document.kind, document.sent))

    @pytest.mark.parametrize("case", list(CASES.values()), ids=list(CASES))
    def test_names_in_operations_mean_the_same_in_any_letter_case(
        self, patch: Patch, case: Callable[[str], str]
    ) -> None:
        """In paths and in values."""
        again = self._clean_patched(
            patch, [change_operation_case(operation, case) for operation in patch.sent]
        )
        assert _comparable(again) == _comparable(self._clean_patched(patch, patch.sent))

    def test_junk_is_never_answered_with_a_5xx(self, connection: Scim) -> None:
        """By the whole gateway: the first example of each kind, with junk at each place."""
        for kind, path in (("User", "/Users"), ("Group", "/Groups")):
            example = next((each for each in self.documents.values() if each.kind == kind), None)
            for place in places(example.sent) if example else ():
                for junk in JUNK:
                    sent = place.replaced(example.sent, junk) if example else None
                    answer = connection.call("POST", path, sent)
                    assert answer.status < 500, f"{junk!r} at {place}: {answer.text}"
                    if answer.status == 201:
                        connection.call("DELETE", f"{path}/{answer.json['id']}")

    def _check_junk(self, example: Any, receive: Callable[[Any], Any]) -> None:
        proper = receive(example)
        for place in places(example):
            left_out = receive(_remove_place(place, example))
            matters = _comparable(left_out) != _comparable(proper)
            for junk in JUNK:
                received, what = receive(place.replaced(example, junk)), f"{junk!r} at {place}"
                if isinstance(received, Refusal):
                    assert 400 <= received.status < 500, what
                    assert received.detail.endswith((".", "!", "?")), f"{what}: the refusal is no sentence"
                elif matters and not _is_equivalent(junk, place.value(example)):
                    assert received != proper, f"{what} is taken for what belongs there"
                    dropped = junk in FULL and received == left_out
                    assert not dropped, f"{what} is dropped without a word"

    def _clean_document(self, kind: str, sent: Any) -> CleanDocument | Refusal:
        """Return the document that the core would store of one as it is sent, or the refusal."""
        kept = manager_with(self.plugin).declared.kept(self.words)
        try:
            answer = self._resource(kind)(copy.deepcopy(sent))
            assert answer is None or isinstance(answer, dict), "the answer is no object"
            return clean(kept.user if kind == "User" else kept.group, sent if answer is None else answer)
        except Refusal as refused:
            return refused

    def _clean_patched(self, example: Patch, sent: Any) -> CleanDocument | Refusal:
        """Return the document that the core would store after operations as they are sent, or the refusal."""
        kept = manager_with(self.plugin).declared.kept(self.words)
        empty = self.asked.declaration.empty_patches
        changes: list[Any] = []
        try:
            read = read_operations({"schemas": [PATCH_URN], "Operations": copy.deepcopy(sent)}, empty)
            answer = self._patch(example, copy.deepcopy(example.stored))(copy.deepcopy(read))
            assert answer is None or isinstance(answer, list), "the answer is no list"
            message = {"schemas": [PATCH_URN], "Operations": read if answer is None else answer}
            operations = read_operations(message, may_be_empty=True)
            if example.kind == "Group":
                changes, operations = split_members(operations)
            resource_type = kept.user if example.kind == "User" else kept.group
            patched = apply(resource_type, example.stored, operations)
            return CleanDocument({**patched.document, "changes": changes}, patched.ignored)
        except Refusal as refused:
            return refused

    def _filter(self, sent: str) -> Any:
        return self.asked.ask("gateway_map_filter", connection=self.words, resource_type="User", filter=sent)

    def _resource(self, kind: str) -> Callable[[Any], Any]:
        return lambda sent: self.asked.ask(
            "gateway_map_resource", connection=self.words, resource_type=kind, document=sent
        )

    def _patch(self, example: Patch, stored: Any) -> Callable[[Any], Any]:
        return lambda sent: self.asked.ask(
            "gateway_map_patch",
            connection=self.words,
            resource_type=example.kind,
            operations=sent,
            current=stored,
        )

    def _apply(self, example: Patch, operations: Any) -> None:
        read = read_operations({"schemas": [PATCH_URN], "Operations": operations})
        kept = manager_with(self.plugin).declared.kept(self.words)
        if example.kind == "Group":
            _, read = split_members(read)
        apply(kept.user if example.kind == "User" else kept.group, example.stored, read)


def _check_example(example: Document | Patch, ask: Callable[[Any], Any], sent: Any) -> None:
    """Assert that the plugin answers as the example says, twice, and changes its argument only if it returns it."""
    for _ in range(2):
        given = copy.deepcopy(sent)
        if example.refused:
            with pytest.raises(Refusal) as refused:
                ask(given)
            assert 400 <= refused.value.status < 500
            assert example.refused in refused.value.detail
            assert refused.value.detail.endswith((".", "!", "?")), "the refusal is no sentence"
            continue
        answer = ask(given)
        if example.becomes is None:
            assert answer is None or answer == sent
        else:
            assert answer == example.becomes
        if answer is None:
            assert given == sent, "it answered None, but changed what it was given"


def _remove_place(place: Place, example: Any) -> Any:
    """Return the example without the value at a place: an operation without its value changes nothing.

    A `remove` with a value removes the entries that it names; null names none (RFC 7643, 2.5).
    """
    number, *keys = place.keys
    if isinstance(number, int) and keys in ([], ["value"]):
        if keys and example[number]["op"] == "remove":
            return example
        return Place((number,)).replaced(example, {"op": "add", "value": {}})
    return place.removed(example)


def _is_equivalent(junk: Any, value: Any) -> bool:
    """Return whether the junk is the value itself, or both are empty."""
    return (type(junk) is type(value) and junk == value) or (is_empty(junk) and is_empty(value))


def _comparable(received: CleanDocument | Refusal) -> Any:
    """Return what is compared between letter cases: the document, or the status of a refusal."""
    return received.status if isinstance(received, Refusal) else received.document
