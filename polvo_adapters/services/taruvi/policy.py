"""Permissions: what a principal may do with resources. What the server does not say is allowed is not allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, operation
from polvo_adapters.services.taruvi.responses import fetch_envelope, fetch_results

ACTIONS = ("read", "write", "create", "update", "delete")
_ALLOWED = "EFFECT_ALLOW"


class Policy(Module[Mode_co]):
    """What a principal may do with resources."""

    @operation
    def check_resources(
        self,
        resources: Iterable[Mapping[str, Any]],
        actions: Iterable[str] | None = None,
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
            For each id of a resource whether each action is allowed. Where two resources have the same id, the keys are
            "kind:id"; where they have the same kind too, what is allowed for both.
        """
        if actions is None:
            given = [_require_check(each) for each in checks.require_items("resources", resources, least=0)]
            return (yield from fetch_envelope(self._call(given, principal, aux_data)))
        checked, named = _require_resources(resources), _require_actions(actions)
        allowed = yield from self._decide(checked, named, principal, aux_data)
        ids = [str(resource["id"]) for resource in checked]
        if len(set(ids)) < len(ids):
            ids = [f"{resource['kind']}:{resource['id']}" for resource in checked]
        decided: dict[str, set[str]] = {}
        for key, allow in zip(ids, allowed, strict=True):
            decided[key] = decided.get(key, allow) & allow
        return {key: {action: action in allow for action in named} for key, allow in decided.items()}

    @operation
    def filter_allowed(
        self,
        resources: Iterable[Mapping[str, Any]],
        actions: Iterable[str],
        principal: Mapping[str, Any] | None = None,
        aux_data: Mapping[str, Any] | None = None,
    ) -> Operation[list[dict[str, Any]]]:
        """Return those resources for which all actions are allowed, in their order; arguments as above."""
        checked, named = _require_resources(resources), _require_actions(actions)
        allowed = yield from self._decide(checked, named, principal, aux_data)
        return [resource for resource, allow in zip(checked, allowed, strict=True) if set(named) <= allow]

    @operation
    def get_allowed_actions(
        self,
        resource: Mapping[str, Any],
        actions: Iterable[str] | None = None,
        principal: Mapping[str, Any] | None = None,
        aux_data: Mapping[str, Any] | None = None,
    ) -> Operation[list[str]]:
        """Return those actions that are allowed, in their order; by default of `ACTIONS`."""
        named = _require_actions(ACTIONS if actions is None else actions)
        allowed = yield from self._decide([_require_resource("resource", resource)], named, principal, aux_data)
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
        call = self._call(checks_of_each, principal, aux_data)
        results = yield from fetch_results(call)
        return [_find_allowed(number, resource, results) for number, resource in enumerate(resources)]

    def _call(
        self,
        resources: list[dict[str, Any]],
        principal: Mapping[str, Any] | None,
        aux_data: Mapping[str, Any] | None,
    ) -> Call:
        body: dict[str, Any] = {"resources": checks.require_json("resources", resources)}
        if principal is not None:
            about = checks.require_mapping("principal", principal, filled=True)
            body["principal"] = checks.require_json("principal", about)
        if aux_data is not None:
            body["auxData"] = checks.require_json("aux_data", checks.require_mapping("aux_data", aux_data))
        path = f"{self._app}/check/resources{'/' if self._is_current else ''}"
        return Call("POST", path, body=body, idempotent=True)  # it changes nothing


def _find_allowed(number: int, resource: Mapping[str, Any], results: Sequence[Any]) -> set[str]:
    """Return the actions that are allowed for a resource: by the results that name it, and none by any other."""
    if number < len(results) and _is_about(results[number], resource):
        return _list_allowed(results[number])
    matching = [_list_allowed(each) for each in results if _is_about(each, resource)]
    return set.intersection(*matching) if matching else set()


def _list_allowed(result: Mapping[str, Any]) -> set[str]:
    actions = result.get("actions")
    return {name for name, effect in actions.items() if effect == _ALLOWED} if isinstance(actions, dict) else set()


def _is_about(result: Any, resource: Mapping[str, Any]) -> bool:
    said = result.get("resource") if isinstance(result, dict) else None
    if not isinstance(said, dict) or str(said.get("id")) != str(resource["id"]):
        return False
    return bool(said.get("kind", resource["kind"]) == resource["kind"])


def _require_resources(values: object) -> list[dict[str, Any]]:
    return [_require_resource("resources", each) for each in checks.require_items("resources", values, least=0)]


def _require_resource(name: str, value: object) -> dict[str, Any]:
    resource = checks.require_mapping(name, value)
    if "kind" not in resource or "id" not in resource:
        raise checks.refuse(name, "a resource has no 'kind' or no 'id'")
    checks.require_text(name, resource["kind"])
    addresses.plain_id(name, resource["id"])
    return resource


def _require_check(value: object) -> dict[str, Any]:
    check = checks.require_mapping("resources", value)
    if "resource" not in check or "actions" not in check:
        raise checks.refuse("actions", "it is missing; or each of the resources has 'resource' and 'actions'")
    resource = _require_resource("resources", check["resource"])
    return {**check, "resource": resource, "actions": checks.require_names("resources", check["actions"])}


def _require_actions(values: object) -> list[str]:
    return checks.require_names("actions", values)
