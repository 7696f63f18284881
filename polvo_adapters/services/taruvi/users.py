"""Users of the site, and their roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from polvo_adapters.redaction import hide, hide_named
from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, operation
from polvo_adapters.services.taruvi.responses import fetch, fetch_envelope, fetch_items, fetch_list, fetch_object

Items: TypeAlias = list[Any]
_MOST_AT_ONCE = 100  # users, and roles


class Users(Module[Mode_co]):
    """Users of the site, and their roles."""

    @operation
    def list_users(
        self,
        search: str | None = None,
        is_active: bool | None = None,
        is_staff: bool | None = None,
        is_superuser: bool | None = None,
        is_deleted: bool | None = None,
        ordering: str | None = None,
        page: int | None = None,
        page_size: int | None = None,
        roles: str | Iterable[str] | None = None,
    ) -> Operation[dict[str, Any]]:
        """Return users, in "results"; those that fit what is given.

        Args:
            search: A text in their names.
            is_active: Whether they may sign in.
            is_staff: Whether they are staff.
            is_superuser: Whether they may do everything.
            is_deleted: Whether they are deleted.
            ordering: The field that they are sorted by, with a minus sign for the other way around.
            page: The page, the first of which is 1.
            page_size: How many at once.
            roles: Names of roles, with commas between them, or a sequence.
        """
        switches = {
            "is_active": is_active,
            "is_staff": is_staff,
            "is_superuser": is_superuser,
            "is_deleted": is_deleted,
        }
        params = checks.list_texts(search=search, ordering=ordering)
        params += [
            (name, str(checks.require_flag(name, value))) for name, value in switches.items() if value is not None
        ]
        if roles is not None:
            params.append(("roles", checks.join_names("roles", roles)))
        return (yield from fetch_list(Call("GET", "/api/users/", [*params, *checks.list_pages(page, page_size)])))

    @operation
    def get_user(self, username: str) -> Operation[dict[str, Any]]:
        """Return a user."""
        return (yield from fetch_object(Call("GET", _locate(username))))

    @operation
    def create_user(
        self,
        /,
        username: str,
        email: str,
        password: str,
        confirm_password: str,
        first_name: str | None = None,
        last_name: str | None = None,
        is_active: bool | None = None,
        is_staff: bool | None = None,
        **attributes: Any,
    ) -> Operation[dict[str, Any]]:
        """Create a user, and return it; further keywords are sent as they are."""
        password, confirm_password, attributes = hide(password), hide(confirm_password), hide_named(attributes)
        body: dict[str, Any] = {
            "username": checks.require_text("username", username),
            "email": checks.require_text("email", email),
            "password": checks.require_text("password", password),
            "confirm_password": checks.require_text("confirm_password", confirm_password),
        }
        if password != confirm_password:
            raise checks.refuse("confirm_password", "it differs from password")
        switches = {"is_active": is_active, "is_staff": is_staff}
        body |= {name: checks.require_flag(name, value) for name, value in switches.items() if value is not None}
        names = {"first_name": first_name, "last_name": last_name}
        body |= {name: _require_name(name, value) for name, value in names.items() if value is not None}
        body |= _require_attributes({name: value for name, value in attributes.items() if value is not None})
        return (yield from fetch_object(Call("POST", "/api/users/", body=body, secrets=_list_passwords(body))))

    @operation
    def create(self, data: Mapping[str, Any]) -> Operation[dict[str, Any]]:
        """Create a user from a dict, as later versions of the published client do, and return it."""
        body = checks.require_json("data", hide_named(checks.require_mapping("data", data, filled=True)))
        return (yield from fetch_object(Call("POST", "/api/users/", body=body, secrets=_list_passwords(body))))

    @operation
    def update_user(
        self, /, username: str, data: Mapping[str, Any] | None = None, **attributes: Any
    ) -> Operation[dict[str, Any]]:
        """Change what is given of a user, as a dict or as keywords such as `email="bob@example.com"`, and return it."""
        path, attributes = _locate(username), hide_named(attributes)
        data = {} if data is None else hide_named(checks.require_mapping("data", data))
        if not data and not attributes:
            raise checks.refuse("data", "nothing is to be changed")
        body = {**checks.require_json("data", data), **_require_attributes(attributes)}
        return (yield from fetch_object(Call("PUT", path, body=body, secrets=_list_passwords(body))))

    @operation
    def delete_user(self, username: str) -> Operation[None]:
        """Delete a user."""
        yield from fetch(Call("DELETE", _locate(username)))

    @operation
    def get_user_apps(self, username: str) -> Operation[Items]:
        """Return the apps of a user."""
        return (yield from fetch_items(Call("GET", f"{_locate(username)}apps/")))

    @operation
    def assign_roles(
        self, roles: Iterable[str], usernames: Iterable[str], expires_at: str | datetime | None = None
    ) -> Operation[dict[str, Any]]:
        """Give roles to users, at most 100 of each.

        Args:
            roles: Names of the roles.
            usernames: Names of the users.
            expires_at: The end: a datetime with a time zone, or a text such as "2025-12-31T23:59:59Z"; None for none.
        """
        body: dict[str, Any] = _name_roles(roles, usernames)
        if expires_at is not None:
            body["expires_at"] = _format_time("expires_at", expires_at)
        return (yield from fetch_envelope(Call("POST", self._roles_path("assign"), body=body), may_be_empty=True))

    @operation
    def revoke_roles(self, roles: Iterable[str], usernames: Iterable[str]) -> Operation[dict[str, Any]]:
        """Take roles from users, at most 100 of each."""
        body = _name_roles(roles, usernames)
        return (yield from fetch_envelope(Call("DELETE", self._roles_path("revoke"), body=body), may_be_empty=True))

    @operation
    def get_preferences(self) -> Operation[dict[str, Any]]:
        """Return the preferences of the user who is signed in."""
        return (yield from fetch_object(Call("GET", "/api/users/me/preferences/")))

    @operation
    def update_preferences(self, preferences: Mapping[str, Any]) -> Operation[dict[str, Any]]:
        """Change preferences of the user who is signed in."""
        body = checks.require_json("preferences", checks.require_mapping("preferences", preferences, filled=True))
        return (yield from fetch_object(Call("PUT", "/api/users/me/preferences/", body=body)))

    # The names of later versions of the published client.
    list, get, update, delete, apps = list_users, get_user, update_user, delete_user, get_user_apps

    def _roles_path(self, verb: str) -> str:
        return f"/api/{verb}/roles/" if self._is_current else f"/api/{verb}/roles"


def _locate(username: str) -> str:
    return f"/api/users/{addresses.segment('username', username)}/"


def _name_roles(roles: Iterable[str], usernames: Iterable[str]) -> dict[str, Any]:
    given = {"roles": roles, "usernames": usernames}
    return {name: checks.require_names(name, values, _MOST_AT_ONCE) for name, values in given.items()}


def _require_attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: checks.require_json(name, value) for name, value in values.items()}


def _list_passwords(body: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(value for name, value in body.items() if "password" in name and isinstance(value, str))


def _require_name(name: str, value: object) -> str:
    """Return the name of a person, which may be empty."""
    return "" if value == "" else checks.require_text(name, value)


def _format_time(name: str, value: object) -> str:
    if not isinstance(value, datetime):
        return checks.require_text(name, value)
    if value.tzinfo is None:
        raise checks.refuse(name, "it has no time zone; give it one, such as datetime.timezone.utc")
    return value.isoformat()
