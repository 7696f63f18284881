"""Secrets that are fetched from where they are kept, when they are used.

    Secret                                 a value that is fetched, held for a while, and refreshed
    Vault, SecretsManager, ParameterStore  providers: OpenBao and Vault, AWS
    VaultLogin                             the logins of OpenBao and Vault
    DoubleO, Keyring                       a Double-O service, the keyring of the operating system
    Environment, File, DotEnv, Function    this process, files, a function of your own
    first_of, FirstOf                      several sources, of which the first that has the secret is used
    fetch_all                              several secrets at a time
    Fetched, Provider                      the result and the protocol of a provider of your own

Each name is loaded when it is first used (PEP 562), and the library of a provider at its first fetch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from polvo_adapters.secrets.batch import fetch_all
    from polvo_adapters.secrets.chain import FirstOf, first_of
    from polvo_adapters.secrets.provider import Fetched, Provider
    from polvo_adapters.secrets.providers.aws import ParameterStore, SecretsManager
    from polvo_adapters.secrets.providers.double_o import DoubleO
    from polvo_adapters.secrets.providers.environment import Environment
    from polvo_adapters.secrets.providers.file import DotEnv, File
    from polvo_adapters.secrets.providers.function import Function
    from polvo_adapters.secrets.providers.keyring import Keyring
    from polvo_adapters.secrets.providers.vault import Vault
    from polvo_adapters.secrets.providers.vault_login import VaultLogin
    from polvo_adapters.secrets.secret import Secret

__all__ = [
    "DotEnv",
    "DoubleO",
    "Environment",
    "Fetched",
    "File",
    "FirstOf",
    "Function",
    "Keyring",
    "ParameterStore",
    "Provider",
    "Secret",
    "SecretsManager",
    "Vault",
    "VaultLogin",
    "fetch_all",
    "first_of",
]

_HOMES = {
    "fetch_all": "polvo_adapters.secrets.batch",
    **dict.fromkeys(("FirstOf", "first_of"), "polvo_adapters.secrets.chain"),
    **dict.fromkeys(("Fetched", "Provider"), "polvo_adapters.secrets.provider"),
    "Secret": "polvo_adapters.secrets.secret",
    **dict.fromkeys(("ParameterStore", "SecretsManager"), "polvo_adapters.secrets.providers.aws"),
    "DoubleO": "polvo_adapters.secrets.providers.double_o",
    "Environment": "polvo_adapters.secrets.providers.environment",
    **dict.fromkeys(("DotEnv", "File"), "polvo_adapters.secrets.providers.file"),
    "Function": "polvo_adapters.secrets.providers.function",
    "Keyring": "polvo_adapters.secrets.providers.keyring",
    "Vault": "polvo_adapters.secrets.providers.vault",
    "VaultLogin": "polvo_adapters.secrets.providers.vault_login",
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
