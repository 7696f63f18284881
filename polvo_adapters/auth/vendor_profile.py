"""The shape of what `polvo_adapters.auth.vendors` says of one vendor, and how it becomes the keywords of OAuth2.

Theory of operation. A vendor is data: a token endpoint, the keywords of OAuth2 that are the same for all its clients,
what differs with each flow, and its own settings, such as the account or the region. `Vendor.keywords_for` fills the
settings in where a text has their name in angle brackets ("https://<shop>.myshopify.com/"), and adds what the caller
has given, which takes precedence. Nothing of a vendor is known to any other module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from polvo_adapters.auth.options import OAuth2Options, VendorSettings, unknown_option_error
from polvo_adapters.auth.protocol.client_authentication import BY_SECRET
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.shells.urls import TENANT_SLOT

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.grant_flow import FlowName

EndpointType = TypeVar("EndpointType", bound=TokenEndpoint)

_SLOT = re.compile(r"<([a-z_]+)>")
_ARGUMENTS = ("flow", "client_id", "client_secret", "token_url", "redirect_uri", "fetch", "reauthenticate")
_SIGNS: dict[FlowName, tuple[str, ...]] = {
    "refresh_token": ("refresh_token",),
    "jwt_bearer": ("private_key",),
    "authorization_code": ("redirect_uri",),
}
"""Keywords that tell the flow."""


@dataclass(frozen=True)
class Setting:
    """A setting that a vendor has besides those of OAuth2.

    Attributes:
        name: The keyword.
        meaning: What it is, for messages and for the documentation.
        pattern: Regular expression of its values; a group in it is the part that is used.
        default: The value where none is given.
        choices: What each value stands for, where there are a few.
        fills: The slots that it fills in, with texts in which "*" is the value. By default the slot of its own name.
        derive: Function of the value that returns keywords of OAuth2, for a setting that fills in no slot.
    """

    name: str
    meaning: str
    pattern: str = r"[A-Za-z0-9][A-Za-z0-9._-]*"
    default: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[str, str] = field(default_factory=dict)
    derive: Callable[[Any], Mapping[str, Any]] | None = None

    def read(self, vendor: str, given: object) -> dict[str, str]:
        """Return the slots that a value fills in.

        Args:
            vendor: Name of the vendor, for messages.
            given: The value.

        Raises:
            ConfigurationError: The value cannot be used.
        """
        text = str(given) if isinstance(given, (str, int)) else ""
        if self.choices:
            if text not in self.choices:
                raise ConfigurationError(f"{vendor}: {self.name}={given!r}: expected one of {', '.join(self.choices)}")
            text = self.choices[text]
        elif text != TENANT_SLOT:
            match = re.fullmatch(self.pattern, text)
            if match is None:
                raise ConfigurationError(f"{vendor}: {self.name}={given!r}: expected {self.meaning}")
            text = match[match.lastindex or 0]
        return {slot: shape.replace("*", text) for slot, shape in (self.fills or {self.name: "*"}).items()}


@dataclass(frozen=True)
class Login:
    """What one flow needs at a vendor.

    Attributes:
        needs: Keywords that have to be given; of alternatives, joined by "|", one.
        options: Further keywords of OAuth2.
        endpoint: What differs of the token endpoint: names of its fields, and their values.
    """

    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    endpoint: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Vendor:
    """A vendor, as its documentation describes it.

    Attributes:
        name: Its name for `OAuth2.for_vendor`.
        title: Its name in prose.
        endpoint: Its token endpoint.
        logins: The flows that it offers.
        sources: Pages that say so, by what they say: "token", "refresh", "refusal" and others.
        rotation: What a refresh does to the refresh token, in a few words.
        options: Keywords of OAuth2 for all flows.
        settings: Its own settings.
        aliases: Other names.
    """

    name: str
    title: str
    endpoint: TokenEndpoint
    logins: Mapping[FlowName, Login]
    sources: Mapping[str, str]
    rotation: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    aliases: tuple[str, ...] = ()

    def choose_flow(self, given: Mapping[str, Any]) -> FlowName:
        """Return the flow that fits what the caller gives.

        Args:
            given: The keywords of the caller.
        """
        for flow, names in _SIGNS.items():
            if flow in self.logins and any(given.get(name) is not None for name in names):
                return flow
        # Without a sign of another one: the flow that needs nothing but the client, or the first one.
        return "client_credentials" if "client_credentials" in self.logins else next(iter(self.logins))

    def keywords_for(self, flow: FlowName | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords of OAuth2 for a client of this vendor.

        Args:
            flow: The flow, or None for the one that fits.
            given: The keywords of the caller: those of OAuth2, which take precedence, and settings of the vendor.

        Raises:
            ConfigurationError: A setting is missing or cannot be used; the message names it.
            TypeError: A keyword is unknown.
        """
        self._require_known(given)
        flow = flow or self.choose_flow(given)
        login = self.logins.get(flow)
        if login is None:
            raise ConfigurationError(f"{self.name}: flow={flow!r}: expected one of {', '.join(self.logins)}")
        self._require_needed(flow, login, given)
        slots = _Slots(self._read_settings(given))
        endpoint = self._find_endpoint(login, slots, given)
        slots.add("token_url", endpoint.url)
        slots.add("client_id", quote(str(given["client_id"]), safe="{}"))
        made = {**self.options, **login.options}
        keywords = {name: slots.fill(value) for name, value in made.items() if slots.has_all(value)}
        self._require_used(flow, slots, given)
        if not given.get("client_secret") and _authenticates_by_secret(keywords.get("revocation_url")):
            del keywords["revocation_url"]
        for setting in self.settings:
            if setting.derive is not None and given.get(setting.name) is not None:
                keywords |= setting.derive(given[setting.name])
        merged = _merge(keywords, self._list_own(given))
        if endpoint is not given.get("token_url"):
            merged.pop("client_authentication", None)  # the endpoint has it
        return {**merged, "flow": flow, "token_url": endpoint}

    def _find_endpoint(self, login: Login, slots: _Slots, given: Mapping[str, Any]) -> TokenEndpoint:
        """Return the token endpoint; another URL is asked in the vendor's way, and another description as it says."""
        endpoint = _fill_endpoint(replace(self.endpoint, **login.endpoint), slots)
        other = given.get("token_url")
        if isinstance(other, TokenEndpoint):
            return other
        if not given.get("client_secret") and _authenticates_by_secret(endpoint):
            endpoint = replace(endpoint, client_authentication=None)  # by what else is given
        return _change(endpoint, {"url": other, "client_authentication": given.get("client_authentication")})

    def _list_own(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords of OAuth2 among those of the caller."""
        settings = {setting.name for setting in self.settings}
        return {name: value for name, value in given.items() if name not in settings}

    def _read_settings(self, given: Mapping[str, Any]) -> dict[str, str]:
        slots: dict[str, str] = {}
        for setting in self.settings:
            value = given.get(setting.name)
            if value is None:
                value = setting.default
            if value is not None and setting.derive is None:
                slots |= setting.read(self.name, value)
        return slots

    def _require_known(self, given: Mapping[str, Any]) -> None:
        known = {*OAuth2Options.__annotations__, *_ARGUMENTS, *(setting.name for setting in self.settings)}
        for name in given.keys() - known:
            if name in VendorSettings.__annotations__:
                settings = ", ".join(setting.name for setting in self.settings) or "none of its own"
                raise ConfigurationError(f"{self.name} has no setting {name}; it has {settings}")
            raise unknown_option_error("OAuth2.for_vendor", name, known)

    def _require_needed(self, flow: str, login: Login, given: Mapping[str, Any]) -> None:
        needed = ("client_id", *login.needs)
        missing = [name for name in needed if not any(given.get(each) for each in name.split("|"))]
        if missing:
            meanings = {setting.name: f"{setting.name} ({setting.meaning})" for setting in self.settings}
            shown = [" or ".join(meanings.get(each, each) for each in name.split("|")) for name in missing]
            page = next(iter(self.sources.values()))
            raise ConfigurationError(
                f"OAuth2.for_vendor({self.name!r}, flow={flow!r}): missing {', '.join(shown)}; see {page}"
            )

    def _require_used(self, flow: str, slots: _Slots, given: Mapping[str, Any]) -> None:
        """Raise ConfigurationError for a setting that was given and that the flow does not use."""
        for setting in self.settings:
            is_used = setting.derive is not None or slots.used & {*(setting.fills or {setting.name: ""})}
            if given.get(setting.name) is not None and not is_used:
                raise ConfigurationError(f"{self.name}: {setting.name} is of no use with flow={flow!r}")


class _Slots:
    """The settings that fill in the slots of texts.

    Args:
        values: The settings.

    Attributes:
        used: Names of the slots that have been filled in.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)
        self.used: set[str] = set()

    def add(self, name: str, value: object) -> None:
        """Add a value that is no setting."""
        self._values[name] = str(value)

    def has_all(self, value: Any) -> bool:
        """Return whether a text has no slot that no setting fills in."""
        text = value.url if isinstance(value, TokenEndpoint) else value
        return not isinstance(text, str) or all(name in self._values for name in _SLOT.findall(text))

    def fill(self, value: Any) -> Any:
        """Return a value with the settings in its texts."""
        if isinstance(value, str):
            return _SLOT.sub(self._fill_one, value)
        if isinstance(value, dict):
            return {name: self.fill(each) for name, each in value.items()}
        return _fill_endpoint(value, self) if isinstance(value, TokenEndpoint) else value

    def _fill_one(self, match: re.Match[str]) -> str:
        self.used.add(match[1])
        return self._values.get(match[1], match[0])


def simplify_name(name: str) -> str:
    """Return a name of a vendor without what its spellings differ in: case, spaces, hyphens, underscores."""
    return "".join(character for character in name.casefold() if character.isalnum())


def _authenticates_by_secret(endpoint: Any) -> bool:
    return isinstance(endpoint, TokenEndpoint) and endpoint.client_authentication in BY_SECRET


def _fill_endpoint(endpoint: EndpointType, slots: _Slots) -> EndpointType:
    again = endpoint.refresh
    return replace(
        endpoint,
        url=slots.fill(endpoint.url),
        headers=slots.fill(endpoint.headers),
        parameters=slots.fill(endpoint.parameters),
        refresh=_fill_endpoint(again, slots) if isinstance(again, TokenEndpoint) else again,
    )


def _change(endpoint: TokenEndpoint, changes: Mapping[str, str | None]) -> TokenEndpoint:
    """Return an endpoint with other values of its fields, where there are any, and so that for refreshes."""
    again = endpoint.refresh
    made: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    return replace(endpoint, refresh=_change(again, changes) if isinstance(again, TokenEndpoint) else again, **made)


def _merge(made: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of the vendor and those of the caller, which take precedence, claim by claim."""
    merged = {**made, **given}
    for name in ("claims", "assertion_headers"):
        if made.get(name) and given.get(name):
            merged[name] = {**made[name], **given[name]}
    return merged
