"""Permissions: what a principal may do with resources. What the server does not say is allowed is not allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polvo_adapters.services.taruvi import checks
from polvo_adapters.services.taruvi.errors import ResponseError
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, operation
from polvo_adapters.services.taruvi.responses import fetch_envelope

ACTIONS = ("read", "write", "create", "update", "delete")
_ALLOWED = "EFFECT_ALLOW"


class Policy(Module[Mode_co]):
    """What a principal may do with resources."""

    @operation
    def check_resources(
        self,
        resources: Sequence[Mapping[str, Any]],
        actions: Sequence[str] | None = None,
        principal: Mapping[str, Any] | None = None,
        aux_data: Mapping[str, Any] | None = None,
    ) -> Operation[dict[str, Any]]:
        """Return which actions are allowed.

        Args:
            resources: Resources: dicts with "kind", "id" and perhaps "attr". Without `actions` each is
                {"resource": {...}, "actions": [...]}, and the answer of the server is returned as it is.
            actions: The actions, for all resources.
            principal: The user that it is about, with "id" and "roles"; by default the one who is signed in.
            aux_data: Further facts for the rules.

        Returns:
            For each id of a resource whether each action is allowed. Where resources of different kinds have the same
            id, the keys are "kind:id".
        """
        if actions is None:
            return (yield from self._check([_require_check(each) for each in resources], principal, aux_data))
        checked, named = [_require_resource(each) for each in resources], _require_actions(actions)
        allowed = yield from self._decide(checked, named, principal, aux_data)
        ids = [str(resource["id"]) for resource in checked]
        unique = len(set(ids)) == len(ids)
        keys = ids if unique else [f"{resource['kind']}:{resource['id']}" for resource in checked]
        return {key: {action: action in allow for action in named} for key, allow in zip(keys, allowed, strict=True)}

    @operation
    def filter_allowed(
        self,
        resources: Sequence[Mapping[str, Any]],
        actions: Sequence[str],
        principal: Mapping[str, Any] | None = None,
        aux_data: Mapping[str, Any] | None = None,
    ) -> Operation[list[dict[str, Any]]]:
        """Return those resources for which all actions are allowed, in their order; arguments as above."""
        checked, named = [_require_resource(each) for each in resources], _require_actions(actions)
        allowed = yield from self._decide(checked, named, principal, aux_data)
        return [resource for resource, allow in zip(checked, allowed, strict=True) if set(named) <= allow]

    @operation
    def get_allowed_actions(
        self,
        resource: Mapping[str, Any],
        actions: Sequence[str] | None = None,
        principal: Mapping[str, Any] | None = None,
        aux_data: Mapping[str, Any] | None = None,
    ) -> Operation[list[str]]:
        """Return those actions that are allowed, in their order; by default of `ACTIONS`."""
        named = _require_actions(ACTIONS if actions is None else actions)
        allowed = yield from self._decide([_require_resource(resource)], named, principal, aux_data)
        return [action for action in named if action in allowed[0]]

    def _decide(
        self,
        resources: list[dict[str, Any]],
        actions: list[str],
        principal: Mapping[str, Any] | None,
        aux_data: Mapping[str, Any] | None,
    ) -> Operation[list[set[str]]]:
        """Return for each resource the actions that are allowed."""
        if not resources:
            return []
        checks_of_each = [{"resource": resource, "actions": actions} for resource in resources]
        envelope = yield from self._check(checks_of_each, principal, aux_data)
        results = envelope.get("results")
        if results is None and isinstance(envelope.get("data"), dict):
            results = envelope["data"].get("results")
        if not isinstance(results, list):
            raise ResponseError("the answer has no results", where="POST .../check/resources/", reason="form")
        return [_find_allowed(number, resource, results) for number, resource in enumerate(resources)]

    def _check(
        self,
        resources: list[dict[str, Any]],
        principal: Mapping[str, Any] | None,
        aux_data: Mapping[str, Any] | None,
    ) -> Operation[dict[str, Any]]:
        body: dict[str, Any] = {"resources": resources}
        if principal is not None:
            body["principal"] = checks.require_mapping("principal", principal, filled=True)
        if aux_data is not None:
            body["auxData"] = checks.require_mapping("aux_data", aux_data)
        path = f"{self._app}/check/resources{'/' if self._is_current else ''}"
        call = Call("POST", path, body=checks.require_json("resources", body), idempotent=True)  # it changes nothing
        return (yield from fetch_envelope(call))


def _find_allowed(number: int, resource: Mapping[str, Any], results: Sequence[Any]) -> set[str]:
    """Return the actions that are allowed for a resource: by a result that names it, and none by any other."""
    matching = [each for each in results if isinstance(each, dict) and _is_about(each.get("resource"), resource)]
    if not matching:
        return set()
    best = results[number] if number < len(results) and results[number] in matching else matching[0]
    actions = best.get("actions")
    return {name for name, effect in actions.items() if effect == _ALLOWED} if isinstance(actions, dict) else set()


def _is_about(said: Any, resource: Mapping[str, Any]) -> bool:
    if not isinstance(said, dict) or str(said.get("id")) != str(resource["id"]):
        return False
    return bool(said.get("kind", resource["kind"]) == resource["kind"])


def _require_resource(value: Mapping[str, Any]) -> dict[str, Any]:
    resource = checks.require_mapping("resources", value)
    if "kind" not in resource or "id" not in resource:
        raise checks.refuse("resources", "a resource has no 'kind' or no 'id'")
    return resource


def _require_check(value: Mapping[str, Any]) -> dict[str, Any]:
    check = checks.require_mapping("resources", value)
    if "resource" not in check or "actions" not in check:
        raise checks.refuse("actions", "it is missing; or each of the resources has 'resource' and 'actions'")
    return {**check, "resource": _require_resource(check["resource"]), "actions": _require_actions(check["actions"])}


def _require_actions(values: Sequence[str]) -> list[str]:
    return checks.require_names("actions", list(values) if isinstance(values, tuple) else values)
