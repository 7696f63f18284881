"""The table of vendors in docs/vendors.md, made of the data: `python -m tests.support.vendors.docs_table` prints it."""

from __future__ import annotations

from polvo_adapters.auth.vendor_profile import Login, Vendor
from polvo_adapters.auth.vendors import VENDORS

HEAD = (
    "| Name | Vendor | Flows, and what each needs besides `client_id` | Refresh token | Sources |",
    "|---|---|---|---|---|",
)


def render_table() -> str:
    """Return the table."""
    return "\n".join([*HEAD, *(_render_row(VENDORS[name]) for name in sorted(VENDORS))])


def render_settings() -> str:
    """Return the table of the vendors' own settings."""
    rows = [
        f"| `{setting.name}` | `{vendor.name}` | {setting.meaning}"
        + (f": {', '.join(f'`{choice}`' for choice in setting.choices)}" if setting.choices else "")
        + (f"; by default `{setting.default}`" if setting.default else "")
        + " |"
        for vendor in (VENDORS[name] for name in sorted(VENDORS))
        for setting in vendor.settings
    ]
    return "\n".join(["| Setting | Vendor | |", "|---|---|---|", *rows])


def _render_row(vendor: Vendor) -> str:
    flows = "<br>".join(f"`{flow}`{_render_needs(login)}" for flow, login in vendor.logins.items())
    sources = ", ".join(f"[{what}]({page})" for what, page in vendor.sources.items())
    return f"| `{vendor.name}` | {vendor.title} | {flows} | {vendor.rotation} | {sources} |"


def _render_needs(login: Login) -> str:
    needs = [" or ".join(f"`{each}`" for each in name.split("|")) for name in login.needs]
    return f": {', '.join(needs)}" if needs else ""


if __name__ == "__main__":
    print(render_table(), render_settings(), sep="\n\n")
