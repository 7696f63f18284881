"""The vendors as their documentation describes them, for `standin`; written from the pages, and not from our table."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from tests.support.vendors.dialect import (
    DEVICE_CODE,
    JWT_BEARER,
    Claims,
    Dialect,
    Grant,
    Issued,
    Revocation,
    Said,
    standard,
)
from tests.support.vendors.standin import CLIENT

KEY_ID = "key-1"
USER = "ada@example.com"
ENTERPRISE = "1234567"

_REFRESH = {"refresh_token": None}
_CODE = {"code": None, "redirect_uri": None}
_VERIFIER = ("code_verifier",)
_DEVICE = Grant(DEVICE_CODE, {"device_code": None, "client_id": CLIENT}, client="none", gives_refresh=True)
_INVALID_GRANT = {"error": "invalid_grant", "error_description": "The token has expired or was revoked."}


def _slack(issued: Issued) -> Said:
    rotation = {} if issued.refresh is None else {"refresh_token": issued.refresh, "expires_in": issued.lifetime}
    team = {"team": {"id": "T1", "name": "Example"}, "bot_user_id": "U1", "app_id": "A1"}
    return Said(
        200, {"ok": True, "access_token": issued.access, "token_type": "bot", "scope": "chat:write", **team, **rotation}
    )


def _github_app(issued: Issued) -> Said:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(issued.now + (issued.lifetime or 0)))
    return Said(201, {"token": issued.access, "expires_at": ends, "permissions": {"contents": "read"}})


def _salesforce(issued: Issued) -> Said:
    body: dict[str, Any] = {
        "access_token": issued.access,
        "instance_url": "https://acme.my.salesforce.com",
        "id": "https://login.salesforce.com/id/00D/005",
        "token_type": "Bearer",
        "issued_at": str(int(issued.now * 1000)),
        "signature": "c2lnbmF0dXJl",
        "scope": "api refresh_token",
    }
    return Said(200, body if issued.refresh is None else {**body, "refresh_token": issued.refresh})


def _withings(issued: Issued) -> Said:
    token = {"access_token": issued.access, "refresh_token": issued.refresh, "expires_in": issued.lifetime}
    return Said(200, {"status": 0, "body": {"userid": "363", **token, "scope": "user.metrics", "token_type": "Bearer"}})


def _shopify(issued: Issued) -> Said:
    body: dict[str, Any] = {"access_token": issued.access, "scope": "read_products", "expires_in": issued.lifetime}
    if issued.refresh is not None:
        body |= {"refresh_token": issued.refresh, "refresh_token_expires_in": 7776000}
    return Said(200, body)


def _amazon_error(details: str) -> Said:
    message = "Access to requested resource is denied."
    return Said(403, {"errors": [{"code": "Unauthorized", "message": message, "details": details}]})


_SLACK = Dialect(
    vendor="slack",
    token_url="https://slack.com/api/oauth.v2.access",
    api_url="https://slack.com/api/conversations.list",
    grants=(
        Grant("refresh_token", _REFRESH, client="either", gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, _VERIFIER, client="either", gives_refresh=True),
    ),
    answer=_slack,
    dead_grant=Said(200, {"ok": False, "error": "invalid_refresh_token"}),
    bad_client=Said(200, {"ok": False, "error": "bad_client_secret"}),
    expired=Said(200, {"ok": False, "error": "token_expired"}),
    revoked=Said(200, {"ok": False, "error": "token_revoked"}),
    forbidden=Said(200, {"ok": False, "error": "missing_scope", "needed": "channels:read"}),
    sources=(
        "https://docs.slack.dev/authentication/using-token-rotation",
        "https://docs.slack.dev/reference/methods/oauth.v2.access",
        "https://docs.slack.dev/reference/methods/auth.test",
    ),
    lifetime=43200,
    revocation=Revocation(
        "https://slack.com/api/auth.revoke",
        field="",
        success=Said(200, {"ok": True, "revoked": True}),
        unknown=Said(200, {"ok": False, "error": "invalid_auth"}),
        kinds=("access",),
    ),
)

_GITHUB = Dialect(
    vendor="github",
    token_url="https://github.com/login/oauth/access_token",
    api_url="https://api.github.com/user",
    grants=(
        Grant("refresh_token", _REFRESH, gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, _VERIFIER, gives_refresh=True),
        _DEVICE,
    ),
    answer=standard(scope="", refresh_token_expires_in=15897600, token_type="bearer"),
    device_url="https://github.com/login/device/code",
    pending=Said(200, {"error": "authorization_pending", "error_description": "The request is still pending."}),
    dead_grant=Said(
        200,
        {
            "error": "bad_refresh_token",
            "error_description": "The refresh token passed is incorrect or expired.",
            "error_uri": "https://docs.github.com",
        },
    ),
    bad_client=Said(200, {"error": "incorrect_client_credentials", "error_description": "The client_id is incorrect."}),
    expired=Said(401, {"message": "Bad credentials", "status": "401"}),
    revoked=Said(401, {"message": "Bad credentials", "status": "401"}),
    forbidden=Said(403, {"message": "Resource not accessible by integration", "status": "403"}),
    sources=(
        "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens",
        "https://docs.github.com/en/apps/oauth-apps/maintaining-oauth-apps/troubleshooting-oauth-app-access-token-request-errors",
    ),
    headers={"Accept": "application/json"},  # otherwise the answer is a form
    lifetime=28800,
    revocation=Revocation(
        f"https://api.github.com/applications/{CLIENT}/token",
        client="basic",
        encoding="json",
        method="DELETE",
        field="access_token",
        success=Said(204, ""),
        unknown=Said(404, {"message": "Not Found"}),
        kinds=("access",),
    ),
)

_GITHUB_APP = Dialect(
    vendor="github_app",
    token_url="https://api.github.com/app/installations/4711/access_tokens",
    api_url="https://api.github.com/installation/repositories",
    grants=(
        Grant(
            "",
            optional=("permissions", "repository_ids"),
            client="none",
            claims=Claims("bearer", None, CLIENT, None, 600),
        ),
    ),
    answer=_github_app,
    dead_grant=Said(401, {"message": "A JSON web token could not be decoded", "status": "401"}),
    bad_client=Said(401, {"message": "A JSON web token could not be decoded", "status": "401"}),
    expired=_GITHUB.expired,
    revoked=_GITHUB.revoked,
    forbidden=_GITHUB.forbidden,
    sources=(
        "https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app",
        "https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app",
    ),
    encoding="json",
    headers={"Accept": "application/vnd.github+json"},
    revocation=Revocation(
        "https://api.github.com/installation/token",
        method="DELETE",
        field="",
        success=Said(204, ""),
        unknown=Said(401, {"message": "Bad credentials"}),
        kinds=("access",),
    ),
)

_GOOGLE = Dialect(
    vendor="google",
    token_url="https://oauth2.googleapis.com/token",
    api_url="https://www.googleapis.com/drive/v3/files",
    grants=(
        Grant("refresh_token", _REFRESH),
        Grant("authorization_code", _CODE, _VERIFIER, gives_refresh=True),
        Grant(
            JWT_BEARER,
            {"assertion": None},
            client="none",
            claims=Claims(
                "assertion",
                "https://oauth2.googleapis.com/token",
                CLIENT,
                None,
                3600,
                fixed={"scope": "https://www.googleapis.com/auth/drive"},
                headers={"kid": KEY_ID},
            ),
        ),
    ),
    answer=standard(expires_in=3599),
    dead_grant=Said(400, _INVALID_GRANT),
    bad_client=Said(401, {"error": "invalid_client", "error_description": "The OAuth client was not found."}),
    expired=Said(401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}),
    revoked=Said(401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}}),
    forbidden=Said(403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}),
    sources=(
        "https://developers.google.com/identity/protocols/oauth2/service-account",
        "https://developers.google.com/identity/protocols/oauth2/web-server",
    ),
    revocation=Revocation(
        "https://oauth2.googleapis.com/revoke",
        unknown=Said(400, {"error": "invalid_token", "error_description": "Token expired or revoked"}),
    ),
)

_AZURE_URL = "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
_AZURE_SCOPE = "https://graph.microsoft.com/.default"

_AZURE = Dialect(
    vendor="azure",
    token_url=_AZURE_URL,
    api_url="https://graph.microsoft.com/v1.0/users",
    grants=(
        Grant("client_credentials", {"scope": _AZURE_SCOPE}),
        Grant("refresh_token", {**_REFRESH, "scope": _AZURE_SCOPE}, gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, ("scope", *_VERIFIER), gives_refresh=True),
        _DEVICE,
    ),
    answer=standard(ext_expires_in=3599),
    device_url="https://login.microsoftonline.com/contoso.example/oauth2/v2.0/devicecode",
    pending=Said(400, {"error": "authorization_pending"}),
    dead_grant=Said(
        400,
        {
            "error": "interaction_required",
            "error_description": "AADSTS50079: the user must enroll in multi-factor authentication.",
            "error_codes": [50079],
        },
    ),
    bad_client=Said(
        401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    ),
    expired=Said(401, {"error": {"code": "InvalidAuthenticationToken", "message": "Lifetime validation failed."}}),
    revoked=Said(401, {"error": {"code": "InvalidAuthenticationToken", "message": "Access token validation failure."}}),
    forbidden=Said(403, {"error": {"code": "Authorization_RequestDenied"}}),
    sources=(
        "https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-client-creds-grant-flow",
        "https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow",
    ),
)

_AZURE_CERTIFICATE = replace(
    _AZURE,
    grants=(
        Grant(
            "client_credentials",
            {
                "scope": _AZURE_SCOPE,
                "client_id": CLIENT,
                "client_assertion": None,
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            },
            client="none",
            claims=Claims(
                "client_assertion", _AZURE_URL, CLIENT, CLIENT, 600, ("PS256",), headers={"x5t#S256": None, "x5t": None}
            ),
        ),
    ),
    dead_grant=Said(
        401, {"error": "invalid_client", "error_description": "AADSTS700027: The certificate is not known."}
    ),
    sources=("https://learn.microsoft.com/en-us/entra/identity-platform/certificate-credentials",),
)

_SALESFORCE_REVOCATION = "https://login.salesforce.com/services/oauth2/revoke"
_SALESFORCE = Dialect(
    vendor="salesforce",
    token_url="https://login.salesforce.com/services/oauth2/token",
    api_url="https://acme.my.salesforce.com/services/data/v62.0/limits",
    grants=(
        Grant("refresh_token", _REFRESH),
        Grant("authorization_code", _CODE, _VERIFIER, gives_refresh=True),
        Grant(
            JWT_BEARER,
            {"assertion": None},
            client="none",
            claims=Claims("assertion", "https://login.salesforce.com", CLIENT, USER, 180),
        ),
    ),
    answer=_salesforce,
    dead_grant=Said(400, {"error": "invalid_grant", "error_description": "expired access/refresh token"}),
    bad_client=Said(400, {"error": "invalid_client_id", "error_description": "client identifier invalid"}),
    expired=Said(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]),
    revoked=Said(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]),
    forbidden=Said(403, [{"message": "The user has not granted this", "errorCode": "INSUFFICIENT_ACCESS"}]),
    sources=(
        "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_refresh_token_flow.htm",
        "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm",
        "https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_revoke_token.htm",
    ),
    lifetime=None,
    revocation=Revocation(_SALESFORCE_REVOCATION, unknown=Said(400, {"error": "unsupported_token_type"})),
)

_SALESFORCE_CLIENT = replace(
    _SALESFORCE,
    token_url="https://acme.my.salesforce.com/services/oauth2/token",
    grants=(Grant("client_credentials"),),
    sources=("https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_client_credentials_flow.htm",),
    revocation=Revocation("https://acme.my.salesforce.com/services/oauth2/revoke"),
)

_HUBSPOT = Dialect(
    vendor="hubspot",
    token_url="https://api.hubapi.com/oauth/2026-03/token",
    api_url="https://api.hubapi.com/crm/v3/objects/contacts",
    grants=(
        Grant("refresh_token", _REFRESH, gives_refresh=True),
        Grant("authorization_code", _CODE, _VERIFIER, gives_refresh=True),
    ),
    answer=standard(hub_id=123, user_id=7, token_type="bearer"),
    dead_grant=Said(400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or invalid refresh token"}),
    bad_client=Said(400, {"status": "BAD_CLIENT_ID", "message": "missing or unknown client id"}),
    expired=Said(401, {"status": "error", "category": "EXPIRED_AUTHENTICATION"}),
    revoked=Said(401, {"status": "error", "category": "INVALID_AUTHENTICATION"}),
    forbidden=Said(403, {"status": "error", "category": "MISSING_SCOPES"}),
    sources=(
        "https://developers.hubspot.com/docs/api-reference/latest/authentication/manage-oauth-tokens",
        "https://developers.hubspot.com/docs/api-reference/latest/authentication/oauth-tokens/revoke-token",
        "https://nango.dev/blog/hubspot-oauth-bad-refresh-token",
    ),
    lifetime=1800,
    revocation=Revocation(
        "https://api.hubapi.com/oauth/2026-03/token/revoke",
        client="post",
        optional=("token_type_hint",),
        kinds=("refresh",),
    ),
)

_ZOOM = Dialect(
    vendor="zoom",
    token_url="https://zoom.us/oauth/token",
    api_url="https://api.zoom.us/v2/users/me",
    grants=(
        Grant("account_credentials", {"account_id": "acc-1"}, client="basic"),
        Grant("refresh_token", _REFRESH, client="basic", gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, _VERIFIER, client="basic", gives_refresh=True),
    ),
    answer=standard(scope="user:read", api_url="https://api.zoom.us", token_type="bearer"),
    dead_grant=Said(401, {"reason": "Invalid Token!", "error": "invalid_grant"}),
    bad_client=Said(400, {"reason": "Invalid client_id or client_secret", "error": "invalid_client"}),
    expired=Said(401, {"code": 124, "message": "Access token is expired."}),
    revoked=Said(401, {"code": 124, "message": "Invalid access token."}),
    forbidden=Said(400, {"code": 4711, "message": "Invalid access token, does not contain scopes:[user:write]."}),
    sources=(
        "https://developers.zoom.us/docs/internal-apps/s2s-oauth/",
        "https://developers.zoom.us/docs/integrations/oauth/",
    ),
    revocation=Revocation("https://zoom.us/oauth/revoke", client="basic"),
)

_ZOHO = Dialect(
    vendor="zoho",
    token_url="https://accounts.zoho.eu/oauth/v2/token",
    api_url="https://www.zohoapis.eu/crm/v8/Leads",
    grants=(
        Grant("refresh_token", _REFRESH),
        Grant("authorization_code", _CODE, gives_refresh=True, optional=_VERIFIER),
    ),
    answer=standard(api_domain="https://www.zohoapis.eu"),
    dead_grant=Said(200, {"error": "invalid_code"}),
    bad_client=Said(200, {"error": "invalid_client"}),
    expired=Said(401, {"code": "INVALID_TOKEN", "message": "invalid oauth token", "status": "error"}),
    revoked=Said(401, {"code": "INVALID_TOKEN", "message": "invalid oauth token", "status": "error"}),
    forbidden=Said(401, {"code": "OAUTH_SCOPE_MISMATCH", "message": "invalid oauth scope", "status": "error"}),
    sources=(
        "https://www.zoho.com/accounts/protocol/oauth/web-apps/access-token-expiry.html",
        "https://www.zoho.com/accounts/protocol/oauth/multi-dc.html",
        "https://www.zoho.com/crm/developer/docs/api/v8/refresh.html",
        "https://github.com/Weble/ZohoBooksApi/issues/84",
    ),
    encoding="form or query",
    scheme="Zoho-oauthtoken",
    revocation=Revocation(
        "https://accounts.zoho.eu/oauth/v2/token/revoke",
        success=Said(200, {"status": "success"}),
        unknown=Said(400, {"error": "invalid_token"}),
    ),
)

_SHOPIFY = Dialect(
    vendor="shopify",
    token_url="https://acme.myshopify.com/admin/oauth/access_token",
    api_url="https://acme.myshopify.com/admin/api/2026-10/graphql.json",
    grants=(
        Grant("client_credentials"),
        Grant("refresh_token", _REFRESH, gives_refresh=True, rotates=True),
        Grant("authorization_code", {"code": None, "expiring": "1"}, ("redirect_uri", *_VERIFIER), gives_refresh=True),
    ),
    answer=_shopify,
    dead_grant=Said(
        400, {"error": "invalid_grant", "error_description": "This request requires an active refresh_token"}
    ),
    bad_client=Said(400, {"error": "invalid_client"}),
    expired=Said(401, {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}),
    revoked=Said(401, {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}),
    forbidden=Said(403, {"errors": "[API] This action requires merchant approval for read_orders scope."}),
    sources=(
        "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/client-credentials-grant",
        "https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/offline-access-tokens",
    ),
    header="X-Shopify-Access-Token",
    scheme="",
)

_MAILCHIMP = Dialect(
    vendor="mailchimp",
    token_url="https://login.mailchimp.com/oauth2/token",
    api_url="https://us6.api.mailchimp.com/3.0/lists",
    grants=(Grant("authorization_code", _CODE, _VERIFIER),),
    answer=standard(expires_in=0, scope=None, token_type="bearer"),
    dead_grant=Said(400, {"error": "invalid_grant"}),
    bad_client=Said(401, {"error": "invalid_client"}),
    expired=Said(401, {"title": "API Key Invalid", "status": 401}),
    revoked=Said(401, {"title": "API Key Invalid", "status": 401}),
    forbidden=Said(403, {"title": "Forbidden", "status": 403}),
    sources=(
        "https://mailchimp.com/developer/marketing/guides/access-user-data-oauth-2/",
        "https://github.com/requests/requests-oauthlib/issues/509",
    ),
    lifetime=None,
)

_XERO = Dialect(
    vendor="xero",
    token_url="https://identity.xero.com/connect/token",
    api_url="https://api.xero.com/connections",
    grants=(
        Grant("client_credentials", client="basic", optional=("scope",)),
        Grant("refresh_token", _REFRESH, client="basic", gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, _VERIFIER, client="basic", gives_refresh=True),
    ),
    answer=standard(scope="accounting.transactions offline_access"),
    dead_grant=Said(400, {"error": "invalid_grant"}),
    bad_client=Said(400, {"error": "invalid_client"}),
    expired=Said(401, {"Title": "Unauthorized", "Status": 401, "Detail": "TokenExpired: token expired"}),
    revoked=Said(401, {"Title": "Unauthorized", "Status": 401, "Detail": "TokenInvalidSignature"}),
    forbidden=Said(403, {"Title": "Forbidden", "Status": 403, "Detail": "AuthenticationUnsuccessful"}),
    sources=(
        "https://developer.xero.com/documentation/guides/oauth2/auth-flow/",
        "https://developer.xero.com/documentation/guides/oauth2/custom-connections/",
        "https://developer.xero.com/faq/oauth2",
    ),
    lifetime=1800,
    revocation=Revocation("https://identity.xero.com/connect/revocation", client="basic", kinds=("refresh",)),
)

_QUICKBOOKS = Dialect(
    vendor="quickbooks",
    token_url="https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
    api_url="https://quickbooks.api.intuit.com/v3/company/1/companyinfo/1",
    grants=(
        Grant("refresh_token", _REFRESH, client="basic", gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, client="basic", gives_refresh=True, optional=_VERIFIER),
    ),
    answer=standard(x_refresh_token_expires_in=8726400, token_type="bearer"),
    dead_grant=Said(400, {"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"}),
    bad_client=Said(401, {"error": "invalid_client"}),
    expired=Said(401, {"fault": {"error": [{"code": "3200", "message": "AuthenticationFailed"}]}}),
    revoked=Said(401, {"fault": {"error": [{"code": "3200", "message": "AuthenticationFailed"}]}}),
    forbidden=Said(403, {"fault": {"error": [{"code": "3100", "message": "ApplicationAuthorizationFailed"}]}}),
    sources=(
        "https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization/oauth-2.0",
        "https://developer.intuit.com/.well-known/openid_configuration",
    ),
    headers={"Accept": "application/json"},
    revocation=Revocation(
        "https://developer.api.intuit.com/v2/oauth2/tokens/revoke",
        client="basic",
        encoding="json",
        unknown=Said(400, {"error": "invalid_request"}),
        kinds=("refresh",),
    ),
)

_AMAZON = Dialect(
    vendor="amazon_sp_api",
    token_url="https://api.amazon.com/auth/o2/token",
    api_url="https://sellingpartnerapi-na.amazon.com/orders/v0/orders",
    grants=(
        Grant("refresh_token", _REFRESH, gives_refresh=True),
        Grant("client_credentials", {"scope": "sellingpartnerapi::notifications"}),
    ),
    answer=standard(token_type="bearer"),
    dead_grant=Said(400, {"error": "invalid_grant", "error_description": "The request has an invalid grant parameter"}),
    bad_client=Said(401, {"error": "invalid_client", "error_description": "Client authentication failed"}),
    expired=_amazon_error("The access token you provided has expired."),
    revoked=_amazon_error("The access token you provided is revoked, malformed or invalid."),
    forbidden=_amazon_error(""),
    sources=(
        "https://developer-docs.amazon.com/sp-api/docs/connect-to-the-selling-partner-api",
        "https://developer-docs.amazon.com/sp-api/docs/resolve-common-http-and-authorization-error-codes",
    ),
    header="x-amz-access-token",
    scheme="",
)

_WITHINGS = Dialect(
    vendor="withings",
    token_url="https://wbsapi.withings.net/v2/oauth2",
    api_url="https://wbsapi.withings.net/measure",
    grants=(
        Grant("refresh_token", {**_REFRESH, "action": "requesttoken"}, gives_refresh=True, rotates=True),
        Grant("authorization_code", {**_CODE, "action": "requesttoken"}, _VERIFIER, gives_refresh=True),
    ),
    answer=_withings,
    dead_grant=Said(200, {"status": 503, "body": {}, "error": "Invalid Params: invalid refresh_token"}),
    bad_client=Said(200, {"status": 503, "body": {}, "error": "Invalid Params: invalid client id/secret"}),
    expired=Said(
        200,
        {
            "status": 401,
            "body": {},
            "error": "XRequestID: Not provided invalid_token: The access token provided is invalid",
        },
    ),
    revoked=Said(
        200,
        {
            "status": 401,
            "body": {},
            "error": "XRequestID: Not provided invalid_token: The access token provided is invalid",
        },
    ),
    forbidden=Said(200, {"status": 293, "body": {}, "error": "The callback URL is either unknown or invalid"}),
    sources=(
        "https://developer.withings.com/api-reference/#tag/oauth2/operation/oauth2-refreshaccesstoken",
        "https://developer.withings.com/api-reference/#section/Response-status",
    ),
    lifetime=10800,
)

_BOX_URL = "https://api.box.com/oauth2/token"
_BOX = Dialect(
    vendor="box",
    token_url=_BOX_URL,
    api_url="https://api.box.com/2.0/users/me",
    grants=(
        Grant("refresh_token", _REFRESH, gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, _VERIFIER, gives_refresh=True),
        Grant("client_credentials", {"box_subject_type": "enterprise", "box_subject_id": ENTERPRISE}),
        Grant(
            JWT_BEARER,
            {"assertion": None},
            claims=Claims(
                "assertion",
                _BOX_URL,
                CLIENT,
                ENTERPRISE,
                60,
                ("RS256", "RS384", "RS512"),
                fixed={"box_sub_type": "enterprise"},
                headers={"kid": KEY_ID},
            ),
        ),
    ),
    answer=standard(restricted_to=[], token_type="bearer"),
    dead_grant=Said(400, {"error": "invalid_grant", "error_description": "Refresh token has expired"}),
    bad_client=Said(400, {"error": "invalid_client", "error_description": "The client credentials are invalid"}),
    expired=Said(401, ""),
    revoked=Said(401, ""),
    forbidden=Said(403, {"type": "error", "status": 403, "code": "access_denied_insufficient_permissions"}),
    sources=(
        "https://developer.box.com/guides/authentication/jwt/without-sdk/",
        "https://developer.box.com/guides/authentication/client-credentials/client-credentials-setup/",
        "https://developer.box.com/guides/authentication/tokens/refresh/",
        "https://developer.box.com/guides/authentication/tokens/revoke/",
    ),
    revocation=Revocation("https://api.box.com/oauth2/revoke", client="post"),
)

_DOCUSIGN = Dialect(
    vendor="docusign",
    token_url="https://account.docusign.com/oauth/token",
    api_url="https://na3.docusign.net/restapi/v2.1/accounts/1/envelopes",
    grants=(
        Grant("refresh_token", _REFRESH, client="basic", gives_refresh=True, rotates=True),
        Grant("authorization_code", _CODE, _VERIFIER, client="basic", gives_refresh=True),
        Grant(
            JWT_BEARER,
            {"assertion": None},
            client="none",
            claims=Claims(
                "assertion", "account.docusign.com", CLIENT, USER, 3600, fixed={"scope": "signature impersonation"}
            ),
        ),
    ),
    answer=standard(),
    dead_grant=Said(400, {"error": "consent_required"}),
    bad_client=Said(400, {"error": "invalid_client"}),
    expired=Said(401, {"errorCode": "AUTHORIZATION_INVALID_TOKEN", "message": "The access token has expired."}),
    revoked=Said(401, {"errorCode": "USER_AUTHENTICATION_FAILED", "message": "The token is not valid."}),
    forbidden=Said(401, {"errorCode": "USER_LACKS_PERMISSIONS", "message": "This user lacks permissions."}),
    sources=(
        "https://developers.docusign.com/platform/auth/jwt-get-token/",
        "https://developers.docusign.com/platform/auth/confidential-authcode-get-token/",
    ),
)

DIALECTS: dict[str, Dialect] = {
    "slack": _SLACK,
    "github": _GITHUB,
    "github_app": _GITHUB_APP,
    "google": _GOOGLE,
    "azure": _AZURE,
    "azure certificate": _AZURE_CERTIFICATE,
    "salesforce": _SALESFORCE,
    "salesforce client": _SALESFORCE_CLIENT,
    "hubspot": _HUBSPOT,
    "zoom": _ZOOM,
    "zoho": _ZOHO,
    "shopify": _SHOPIFY,
    "mailchimp": _MAILCHIMP,
    "xero": _XERO,
    "quickbooks": _QUICKBOOKS,
    "amazon_sp_api": _AMAZON,
    "withings": _WITHINGS,
    "box": _BOX,
    "docusign": _DOCUSIGN,
}
"""The dialects, by the name of the vendor and, where a vendor has several, of the way."""
