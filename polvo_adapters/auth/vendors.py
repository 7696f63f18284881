"""What vendors of APIs say of their logins, by name: the table behind `OAuth2.for_vendor`.

Everything here is data, with the page that says so. A page of a vendor is named in `sources`, under what it says:
"token" (how the endpoint is asked, and what it answers), "refresh", "refusal" (what the API answers to a token that it
does not accept), "revocation" and "login". Texts in angle brackets are settings, see
`polvo_adapters.auth.vendor_profile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polvo_adapters.auth.protocol.certificates import thumbprints
from polvo_adapters.auth.protocol.revocation_endpoint import RevocationEndpoint
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, TokenResponse
from polvo_adapters.auth.vendor_profile import Login, Setting, Vendor, simplify_name
from polvo_adapters.core.credential_refusals import CredentialRefusal
from polvo_adapters.errors import ConfigurationError

_ROTATES = "replaced by each refresh"
_STAYS = "stays the same"
_NONE = "there is none"

_SECRET = Login(needs=("client_secret",))
_REFRESH = Login(needs=("client_secret", "refresh_token"))
_ASSERTION_ALONE: dict[str, Any] = {
    "client_authentication": "none",
    "names": {"client_id": None, "scope": None},
}
"""The assertion is the only field besides the grant: it names the client, and its claims name the scope."""

_NO_HINT: dict[str, str | None] = {"token_type_hint": None}
_GITHUB_API = Setting("api", "URL of the API", r"https?://[^\s?#]*[^\s?#/]", default="https://api.github.com")
_SHOPIFY = TokenEndpoint(
    "https://<shop>.myshopify.com/admin/oauth/access_token",
    client_authentication="post",
    scope_separator=",",
    refresh_with=(),
)


def _revoke(url: str) -> RevocationEndpoint:
    """Return an endpoint that wants the token alone."""
    return RevocationEndpoint(url, client_authentication="none", names={"client_id": None, "token_type_hint": None})


def _name_certificate(certificate: Any) -> dict[str, Any]:
    """Return how assertions name the certificate that they are signed by."""
    return {"assertion_headers": thumbprints(certificate), "algorithm": "PS256"}


_VENDORS = (
    Vendor(
        name="slack",
        title="Slack",
        endpoint=TokenEndpoint(
            "https://slack.com/api/oauth.v2.access",
            client_authentication="post",
            refresh_with=(),
            scope_separator=",",
            response=TokenResponse(
                token_type=None,  # "bot" or "user"; the token is sent as Bearer
                temporary=("fatal_error", "internal_error", "ratelimited", "request_timeout", "service_unavailable"),
            ),
        ),
        logins={"refresh_token": _REFRESH, "authorization_code": _SECRET},
        options={
            "authorization_url": "https://slack.com/oauth/v2/authorize",
            "revocation_url": RevocationEndpoint(
                "https://slack.com/api/auth.revoke",
                client_authentication="none",
                headers={"Authorization": "Bearer {token}"},
                names={"token": None, "token_type_hint": None, "client_id": None},
                kinds=("access_token",),
            ),
            "refused": "slack",
        },
        rotation=f"{_ROTATES}, with token rotation; without it tokens do not expire",
        sources={
            "token": "https://docs.slack.dev/reference/methods/oauth.v2.access",
            "refresh": "https://docs.slack.dev/authentication/using-token-rotation",
            "refusal": "https://docs.slack.dev/reference/methods/auth.test",
            "revocation": "https://docs.slack.dev/reference/methods/auth.revoke",
        },
    ),
    Vendor(
        name="github",
        title="GitHub, user tokens",
        endpoint=TokenEndpoint(
            "https://<domain>/login/oauth/access_token", client_authentication="post", refresh_with=()
        ),
        logins={
            "refresh_token": Login(needs=("refresh_token",)),  # without a secret after a login by the device flow
            "authorization_code": _SECRET,
            "device_code": Login(),
        },
        options={
            "authorization_url": "https://<domain>/login/oauth/authorize",
            "revocation_url": RevocationEndpoint(
                "<api>/applications/<client_id>/token",
                encoding="json",
                method="DELETE",
                client_authentication="basic_unencoded",
                names={"token": "access_token", "token_type_hint": None},
                kinds=("access_token",),
            ),
            "device_authorization_url": "https://<domain>/login/device/code",
        },
        settings=(Setting("domain", "host of a GitHub Enterprise Server", default="github.com"), _GITHUB_API),
        rotation=f"{_ROTATES}, where tokens expire",
        aliases=("github_user",),
        sources={
            "token": "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/"
            "generating-a-user-access-token-for-a-github-app",
            "refresh": "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/"
            "refreshing-user-access-tokens",
            "refusal": "https://docs.github.com/en/apps/oauth-apps/maintaining-oauth-apps/"
            "troubleshooting-oauth-app-access-token-request-errors",
            "revocation": "https://docs.github.com/en/rest/apps/oauth-applications#delete-an-app-token",
        },
    ),
    Vendor(
        name="github_app",
        title="GitHub, installations of Apps",
        endpoint=TokenEndpoint(
            "<api>/app/installations/<installation_id>/access_tokens",
            encoding="json",  # the body may restrict permissions and repositories; nothing else is in it
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": "Bearer {assertion}",
            },
            names={"assertion": None, "client_id": None},
            grant_type={"jwt_bearer": None},
            client_authentication="none",
            response=TokenResponse(
                access_token="token",
                final=("status 401", "status 403", "status 404"),  # the key, the app or the installation is gone
            ),
        ),
        logins={
            # An assertion may live ten minutes, and its `iat` should be a minute in the past, which is the default.
            "jwt_bearer": Login(needs=("private_key", "installation_id"), options={"audience": "<api>"})
        },
        settings=(
            Setting("installation_id", "number of the installation", r"[0-9]+"),
            _GITHUB_API,
        ),
        options={
            "revocation_url": RevocationEndpoint(
                "<api>/installation/token",
                method="DELETE",
                headers={"Authorization": "Bearer {token}"},
                names={"token": None, "token_type_hint": None, "client_id": None},
                kinds=("access_token",),
            )
        },
        rotation=_NONE,
        aliases=("github_apps", "github_installation"),
        sources={
            "token": "https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app",
            "login": "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/"
            "generating-a-json-web-token-jwt-for-a-github-app",
            "revocation": "https://docs.github.com/en/rest/apps/installations#revoke-an-installation-access-token",
        },
    ),
    Vendor(
        name="google",
        title="Google, service accounts and users",
        endpoint=TokenEndpoint("https://oauth2.googleapis.com/token", client_authentication="post", refresh_with=()),
        logins={
            "jwt_bearer": Login(
                needs=("private_key", "scope"),
                options={"audience": "<token_url>"},
                endpoint=_ASSERTION_ALONE,
            ),
            "refresh_token": _REFRESH,
            "authorization_code": _SECRET,
        },
        options={
            "authorization_url": "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline",
            "revocation_url": _revoke("https://oauth2.googleapis.com/revoke"),
        },
        rotation=_STAYS,
        aliases=("google_service_account", "gcp"),
        sources={
            "token": "https://developers.google.com/identity/protocols/oauth2/service-account",
            "refresh": "https://developers.google.com/identity/protocols/oauth2/web-server#offline",
            "revocation": "https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke",
        },
    ),
    Vendor(
        name="azure",
        title="Microsoft Entra ID (Azure AD)",
        endpoint=TokenEndpoint(
            "https://<domain>/<tenant_id>/oauth2/v2.0/token",
            client_authentication="post",
            response=TokenResponse(final=("consent_required", "interaction_required", "login_required")),
        ),
        logins={
            # A secret, or a certificate and its key.
            "client_credentials": Login(needs=("client_secret|certificate", "scope", "tenant_id")),
            "refresh_token": Login(needs=("refresh_token", "scope", "tenant_id")),
            "authorization_code": Login(needs=("tenant_id",)),
            "device_code": Login(needs=("tenant_id",)),
        },
        options={
            "authorization_url": "https://<domain>/<tenant_id>/oauth2/v2.0/authorize",
            "device_authorization_url": "https://<domain>/<tenant_id>/oauth2/v2.0/devicecode",
        },
        settings=(
            Setting("tenant_id", "the directory: its id or domain, or common, organizations or consumers"),
            Setting("domain", "host of the cloud", default="login.microsoftonline.com"),
            Setting("certificate", "the certificate of the private_key, in PEM", derive=_name_certificate),
        ),
        rotation="a new one with each refresh; the old one stays valid",
        aliases=("azure_ad", "entra", "entra_id", "microsoft"),
        sources={
            "token": "https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow",
            "refresh": "https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow",
            "login": "https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials",
        },
    ),
    Vendor(
        name="salesforce",
        title="Salesforce",
        # No lifetime is told: a token is used until the API refuses it.
        endpoint=TokenEndpoint("https://<domain>/services/oauth2/token", client_authentication="post", refresh_with=()),
        logins={
            "refresh_token": Login(needs=("refresh_token",)),
            "authorization_code": _SECRET,
            "client_credentials": Login(needs=("client_secret", "domain")),  # by the domain of the org alone
            "jwt_bearer": Login(
                needs=("private_key", "subject"),
                # An assertion may live three minutes; its audience is the login server.
                options={"audience": "https://<domain>", "assertion_lifetime": 120.0},
                endpoint=_ASSERTION_ALONE,
            ),
        },
        options={
            "authorization_url": "https://<domain>/services/oauth2/authorize",
            "revocation_url": _revoke("https://<domain>/services/oauth2/revoke"),
        },
        settings=(
            Setting(
                "domain", "host of the login: that of the org, or test.salesforce.com", default="login.salesforce.com"
            ),
        ),
        rotation=f"{_STAYS}, unless rotation is enabled for the app",
        sources={
            "token": "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm",
            "refresh": "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_refresh_token_flow.htm",
            "login": "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm",
            "revocation": "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_revoke_token.htm",
        },
    ),
    Vendor(
        name="hubspot",
        title="HubSpot",
        # The version v1 ends on 16 February 2027; its answers are the same.
        endpoint=TokenEndpoint(
            "https://api.hubapi.com/oauth/2026-03/token", client_authentication="post", refresh_with=()
        ),
        logins={"refresh_token": _REFRESH, "authorization_code": _SECRET},
        options={
            "authorization_url": "https://app.hubspot.com/oauth/authorize",
            "revocation_url": RevocationEndpoint(
                "https://api.hubapi.com/oauth/2026-03/token/revoke", kinds=("refresh_token",)
            ),
        },
        rotation=_STAYS,
        sources={
            "token": "https://developers.hubspot.com/docs/api-reference/latest/authentication/manage-oauth-tokens",
            "refresh": "https://developers.hubspot.com/docs/api-reference/latest/authentication/oauth-tokens/"
            "refresh-oauth-token",
            "refusal": "https://nango.dev/blog/hubspot-oauth-bad-refresh-token",
            "revocation": "https://developers.hubspot.com/docs/api-reference/latest/authentication/oauth-tokens/revoke-token",
        },
    ),
    Vendor(
        name="zoom",
        title="Zoom, server to server and users",
        endpoint=TokenEndpoint("https://zoom.us/oauth/token", client_authentication="basic", refresh_with=()),
        logins={
            "client_credentials": Login(
                needs=("client_secret", "account_id"),
                endpoint={"grant_type": "account_credentials", "parameters": {"account_id": "<account_id>"}},
            ),
            "refresh_token": _REFRESH,
            "authorization_code": _SECRET,
        },
        options={
            "authorization_url": "https://zoom.us/oauth/authorize",
            "revocation_url": RevocationEndpoint("https://zoom.us/oauth/revoke", names=_NO_HINT),
        },
        settings=(Setting("account_id", "the account, from the page of the app"),),
        rotation=f"{_ROTATES}; server to server there is none",
        aliases=("zoom_s2s", "zoom_server_to_server"),
        sources={
            "token": "https://developers.zoom.us/docs/internal-apps/s2s-oauth/",
            "refresh": "https://developers.zoom.us/docs/integrations/oauth/",
            "refusal": "https://developers.zoom.us/docs/integrations/oauth-error-messages/",
            "revocation": "https://developers.zoom.us/docs/integrations/oauth/",
        },
    ),
    Vendor(
        name="zoho",
        title="Zoho",
        endpoint=TokenEndpoint(
            "https://<region>/oauth/v2/token",
            client_authentication="post",
            refresh_with=(),
            scope_separator=",",
            response=TokenResponse(temporary=("access_denied",)),  # more than ten tokens in ten minutes
        ),
        logins={
            "refresh_token": Login(needs=("client_secret", "refresh_token", "region")),
            "authorization_code": Login(needs=("client_secret", "region")),
        },
        options={
            "authorization_url": "https://<region>/oauth/v2/auth?access_type=offline",
            "revocation_url": _revoke("https://<region>/oauth/v2/token/revoke"),
            "scheme": "Zoho-oauthtoken",
        },
        settings=(
            Setting(
                "region",
                "the data center of the user",
                choices={
                    "us": "accounts.zoho.com",
                    "eu": "accounts.zoho.eu",
                    "in": "accounts.zoho.in",
                    "au": "accounts.zoho.com.au",
                    "jp": "accounts.zoho.jp",
                    "cn": "accounts.zoho.com.cn",
                    "ca": "accounts.zohocloud.ca",
                    "sa": "accounts.zoho.sa",
                    "uk": "accounts.zoho.uk",
                },
            ),
        ),
        rotation=_STAYS,
        sources={
            "token": "https://www.zoho.com/accounts/protocol/oauth/web-apps/get-access-token.html",
            "refresh": "https://www.zoho.com/accounts/protocol/oauth/web-apps/access-token-expiry.html",
            "login": "https://www.zoho.com/accounts/protocol/oauth/multi-dc.html",
            "refusal": "https://github.com/Weble/ZohoBooksApi/issues/84",
            "revocation": "https://www.zoho.com/accounts/protocol/oauth/revoke-refresh-token.html",
        },
    ),
    Vendor(
        name="shopify",
        title="Shopify",
        endpoint=_SHOPIFY,
        logins={
            "client_credentials": Login(needs=("client_secret", "shop")),
            "refresh_token": Login(needs=("client_secret", "refresh_token", "shop")),
            # Without `expiring` a token without an end is issued, which public apps may no longer use.
            "authorization_code": Login(
                needs=("client_secret", "shop"), endpoint={"parameters": {"expiring": "1"}, "refresh": _SHOPIFY}
            ),
        },
        options={
            "authorization_url": "https://<shop>.myshopify.com/admin/oauth/authorize",
            "header": "X-Shopify-Access-Token",
        },
        settings=(Setting("shop", "the shop, as in SHOP.myshopify.com", r"([a-z0-9][a-z0-9-]*)(?:\.myshopify\.com)?"),),
        rotation=f"{_ROTATES}; the old one works until the new one is used",
        sources={
            "token": "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/"
            "client-credentials-grant",
            "refresh": "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/"
            "offline-access-tokens",
        },
    ),
    Vendor(
        name="mailchimp",
        title="Mailchimp",
        endpoint=TokenEndpoint(
            "https://login.mailchimp.com/oauth2/token",
            client_authentication="post",
            response=TokenResponse(never=(0,)),  # tokens have no end, and say so by "expires_in": 0
        ),
        logins={"authorization_code": _SECRET},
        options={"authorization_url": "https://login.mailchimp.com/oauth2/authorize"},
        rotation=_NONE,
        sources={
            "token": "https://mailchimp.com/developer/marketing/guides/access-user-data-oauth-2/",
            "login": "https://github.com/requests/requests-oauthlib/issues/509",
        },
    ),
    Vendor(
        name="xero",
        title="Xero",
        endpoint=TokenEndpoint(
            "https://identity.xero.com/connect/token", client_authentication="basic", refresh_with=()
        ),
        logins={
            "client_credentials": _SECRET,  # custom connections
            "refresh_token": _REFRESH,
            "authorization_code": _SECRET,
        },
        options={
            "authorization_url": "https://login.xero.com/identity/connect/authorize",
            "revocation_url": RevocationEndpoint(
                "https://identity.xero.com/connect/revocation", names=_NO_HINT, kinds=("refresh_token",)
            ),
        },
        rotation=f"{_ROTATES}; the old one works for 30 minutes more",
        sources={
            "token": "https://developer.xero.com/documentation/guides/oauth2/custom-connections/",
            "refresh": "https://developer.xero.com/faq/oauth2",
            "revocation": "https://developer.xero.com/documentation/guides/oauth2/auth-flow/",
        },
    ),
    Vendor(
        name="quickbooks",
        title="QuickBooks Online (Intuit)",
        endpoint=TokenEndpoint(
            "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer", client_authentication="basic", refresh_with=()
        ),
        logins={"refresh_token": _REFRESH, "authorization_code": _SECRET},
        options={
            "authorization_url": "https://appcenter.intuit.com/connect/oauth2",
            "revocation_url": RevocationEndpoint(
                "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
                encoding="json",
                names=_NO_HINT,
                kinds=("refresh_token",),  # and with it all of the login
            ),
        },
        rotation="replaced now and then, at the latest after a day",
        aliases=("intuit", "quickbooks_online"),
        sources={
            "token": "https://developer.intuit.com/.well-known/openid_configuration",
            "refresh": "https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization/faq",
            "revocation": "https://developer.intuit.com/app/developer/qbo/docs/develop/"
            "authentication-and-authorization/oauth-2.0",
        },
    ),
    Vendor(
        name="amazon_sp_api",
        title="Amazon Selling Partner API",
        endpoint=TokenEndpoint("https://api.amazon.com/auth/o2/token", client_authentication="post"),
        logins={
            "refresh_token": _REFRESH,
            "client_credentials": Login(needs=("client_secret", "scope")),  # operations that no seller authorizes
        },
        options={
            "header": "x-amz-access-token",
            "refused": "amazon",
        },
        rotation=_STAYS,
        aliases=("amazon", "sp_api"),
        sources={
            "token": "https://developer-docs.amazon.com/sp-api/docs/connect-to-the-selling-partner-api",
            "refresh": "https://developer-docs.amazon.com/sp-api/docs/connect-to-the-selling-partner-api",
            "refusal": "https://developer-docs.amazon.com/sp-api/docs/resolve-common-http-and-authorization-error-codes",
        },
    ),
    Vendor(
        name="withings",
        title="Withings",
        endpoint=TokenEndpoint(
            "https://wbsapi.withings.net/v2/oauth2",
            client_authentication="post",
            refresh_with=(),
            scope_separator=",",
            parameters={"action": "requesttoken"},
            response=TokenResponse(
                access_token="body.access_token",
                refresh_token="body.refresh_token",
                expires_in="body.expires_in",
                scope="body.scope",
                error="status",  # 0 is none; every answer is a 200
                error_description="error",
                temporary=("522", "601"),
            ),
        ),
        logins={"refresh_token": _REFRESH, "authorization_code": _SECRET},
        options={
            "authorization_url": "https://account.withings.com/oauth2_user/authorize2",
            "refused": CredentialRefusal(200, fields={"status": (100, 101, 102, 200, 401)}),
        },
        rotation=f"{_ROTATES}; the old one works until the new access token is used, or for eight hours",
        sources={
            "token": "https://developer.withings.com/api-reference/#tag/oauth2",
            "refresh": "https://developer.withings.com/developer-guide/v3/integration-guide/public-health-data-api/"
            "get-access/access-and-refresh-tokens-no-recover",
            "refusal": "https://developer.withings.com/api-reference/#section/Response-status",
        },
    ),
    Vendor(
        name="box",
        title="Box",
        endpoint=TokenEndpoint("https://api.box.com/oauth2/token", client_authentication="post", refresh_with=()),
        logins={
            "jwt_bearer": Login(
                needs=("client_secret", "private_key", "enterprise_id|user_id"),
                # An assertion may live one minute.
                options={
                    "subject": "<subject>",
                    "claims": {"box_sub_type": "<subject_type>"},
                    "audience": "<token_url>",
                    "assertion_lifetime": 45.0,
                },
            ),
            "client_credentials": Login(
                needs=("client_secret", "enterprise_id|user_id"),
                endpoint={"parameters": {"box_subject_type": "<subject_type>", "box_subject_id": "<subject>"}},
            ),
            "refresh_token": _REFRESH,
            "authorization_code": _SECRET,
        },
        options={
            "authorization_url": "https://account.box.com/api/oauth2/authorize",
            "revocation_url": RevocationEndpoint("https://api.box.com/oauth2/revoke", names=_NO_HINT),
        },
        settings=(
            Setting(
                "enterprise_id",
                "the enterprise, for its service account",
                fills={"subject": "*", "subject_type": "enterprise"},
            ),
            Setting("user_id", "the user to act as", fills={"subject": "*", "subject_type": "user"}),
        ),
        rotation=_ROTATES,
        sources={
            "token": "https://developer.box.com/guides/authentication/jwt/without-sdk/",
            "login": "https://developer.box.com/guides/authentication/client-credentials/client-credentials-setup/",
            "refresh": "https://developer.box.com/guides/authentication/tokens/refresh/",
            "revocation": "https://developer.box.com/guides/authentication/tokens/revoke/",
        },
    ),
    Vendor(
        name="docusign",
        title="DocuSign",
        endpoint=TokenEndpoint(
            "https://<environment>/oauth/token",
            client_authentication="basic",
            refresh_with=(),
            response=TokenResponse(final=("consent_required",)),
        ),
        logins={
            "jwt_bearer": Login(
                needs=("private_key", "subject"),
                # The audience is the host alone.
                options={"audience": "<environment>", "scope": "signature impersonation"},
                endpoint=_ASSERTION_ALONE,
            ),
            "refresh_token": _REFRESH,
            "authorization_code": _SECRET,
        },
        options={"authorization_url": "https://<environment>/oauth/auth"},
        settings=(
            Setting(
                "environment",
                "production or demo",
                default="production",
                choices={"production": "account.docusign.com", "demo": "account-d.docusign.com"},
            ),
        ),
        rotation=_ROTATES,
        sources={
            "token": "https://developers.docusign.com/platform/auth/jwt-get-token/",
            "login": "https://developers.docusign.com/platform/auth/confidential-authcode-get-token/",
            "refresh": "https://developers.docusign.com/platform/auth/confidential-authcode-get-token/",
        },
    ),
)

VENDORS: Mapping[str, Vendor] = {vendor.name: vendor for vendor in _VENDORS}
"""The vendors by name."""

_NAMES = {simplify_name(name): vendor for vendor in _VENDORS for name in (vendor.name, *vendor.aliases)}


def find_vendor(name: str) -> Vendor:
    """Return the vendor of a name; case, hyphens, underscores and spaces make no difference.

    Args:
        name: The name, or another name of the same vendor.

    Raises:
        ConfigurationError: There is no such vendor; the message lists those that there are.
    """
    vendor = _NAMES.get(simplify_name(name)) if isinstance(name, str) else None
    if vendor is None:
        raise ConfigurationError(
            f"OAuth2.for_vendor({name!r}): there is no such vendor; expected one of {', '.join(sorted(VENDORS))}. Any "
            "other endpoint can be described by token_url=TokenEndpoint(...)"
        )
    return vendor
