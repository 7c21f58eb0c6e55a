"""The steps of a request, as an explanation stores them: those that were recorded, or those that a refusal implies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.provisioning.admission import describe_sender
from gateway.provisioning.caller import IdpCaller
from gateway.provisioning.explanations.masking import dump, mask_text, mask_tokens, to_text
from gateway.provisioning.trace import ExplanationStep, Trace, step_of
from gateway.store.explanations import ExplanationRow

#: Names that a sentence lists.
_NAMES = 30


class Exchange(NamedTuple):
    """A request and its response as they are to be stored, not masked yet, and the caller where it is known."""

    request: Mapping[str, Any]
    response: Mapping[str, Any]
    caller: IdpCaller | None = None


def explain_request(
    trace: Trace,
    exchange: Exchange,
    status: int,
    detail: str | None,
    at: int,
    secrets: Sequence[str],
    last: ExplanationStep | None = None,
) -> ExplanationRow:
    """Return the explanation of a request as it is stored.

    `detail` is the sentence of a refusal, `secrets` are values that it must not hold, `last` a step that follows all
    others.
    """
    target = trace.target
    steps = [step._asdict() for step in (*steps_of(trace, status, detail), *([last] if last else []))]
    return ExplanationRow(
        trace.organization_id,
        trace.request_id,
        at,
        trace.connection_uid,
        mask_tokens(target.id) if target and target.type == "User" and target.id else None,
        dump(exchange.request, secrets),
        dump(exchange.response, secrets),
        to_text(json.loads(dump({"steps": steps}, secrets)).get("steps", [])),
    )


def steps_of(trace: Trace, status: int, detail: str | None) -> list[ExplanationStep]:
    """Return the steps of a request in their order."""
    recorded = trace.steps
    steps = list(_derive(trace)) if recorded is None else list(recorded)
    if dialect := _dialect(trace):
        # Translation follows admission, and comes before all that is decided by the translated request.
        place = sum(1 for step in steps if step.step == "admission")
        steps.insert(place, dialect)
    if trace.ignored:
        names = _listed(list(dict.fromkeys(trace.ignored)))
        steps.append(ExplanationStep("validation", "gateway", f"Not kept by this connection: {names}."))
    for sentence in dict.fromkeys(trace.left_out):
        steps.append(ExplanationStep("mapping", "gateway", sentence))
    if status < 400:
        changed = f" Changed: {_listed(list(trace.changed))}." if trace.changed else ""
        outcome = f"Answered with status {status}.{changed}"
    else:
        outcome = f"Refused with status {status}. {trace.inside or detail or ''}".strip()
    who = trace.decisions[-1].plugin if status >= 400 and trace.decisions else "gateway"
    return [*steps, ExplanationStep("outcome", who if _is_denial(trace) else "gateway", outcome)]


def _derive(trace: Trace) -> list[ExplanationStep]:
    """Return the steps of a refusal that nobody watched, by what its line in the activity notes anyway."""
    steps = []
    if trace.principal is not None:
        steps.append(ExplanationStep("admission", trace.idp or "gateway", describe_sender(trace)))
    elif trace.stranger:
        steps.append(
            ExplanationStep("admission", "gateway", f"The caller is not authenticated: {trace.stranger}.")
        )
    if trace.target is not None and trace.target.id:
        name = f" {trace.target.name}" if trace.target.name else ""
        steps.append(
            ExplanationStep(
                "found", "gateway", f"It is about the {trace.target.type} {trace.target.id}{name}."
            )
        )
    return [*steps, *(step_of(decision) for decision in trace.decisions)]


def _is_denial(trace: Trace) -> bool:
    return bool(trace.decisions) and trace.decisions[-1].verdict.startswith(
        ("denied", "refused", "failed", "invalid")
    )


def _dialect(trace: Trace) -> ExplanationStep | None:
    if trace.translated is None:
        return None
    before, after = trace.translated
    if before == after:
        return ExplanationStep("dialect", trace.idp, "The plugin left the request as it was sent.")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        parts = _rewritten(before, after)
    else:
        parts = f"{len(before)} operations ({_operations(before)}) became {len(after)} ({_operations(after)})"
    return ExplanationStep("dialect", trace.idp, f"The plugin rewrote the request: {mask_text(parts)}.")


def _rewritten(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say which attributes were rewritten, added and left out, by their names alone."""
    kinds = {
        "rewritten": [name for name in after if name in before and before[name] != after[name]],
        "added": [name for name in after if name not in before],
        "left out": [name for name in before if name not in after],
    }
    return "; ".join(f"{kind} {_listed(names)}" for kind, names in kinds.items() if names) or "in form alone"


def _operations(operations: Sequence[Mapping[str, Any]]) -> str:
    return _listed([f"{each.get('op')} {_path(each)}".strip() for each in operations])


def _path(operation: Mapping[str, Any]) -> str:
    """Return the path of an operation without values, or the names in its value where it has no path."""
    path, value = operation.get("path"), operation.get("value")
    if isinstance(path, str):
        return path.partition("[")[0]
    return "/".join(list(value)[:_NAMES]) if isinstance(value, Mapping) else ""


def _listed(names: Sequence[str]) -> str:
    shown = [str(name)[:100] for name in names[:_NAMES]]
    return ", ".join([*shown, f"and {len(names) - _NAMES} more"] if len(names) > _NAMES else shown)
