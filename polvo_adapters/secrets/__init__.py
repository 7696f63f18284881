"""Secrets that live where secrets belong, and are fetched when they are used.

    Secret                                 a value that is fetched, kept for a while, and renewed
    Vault, SecretsManager, ParameterStore  providers: OpenBao and Vault, AWS
    DoubleO, Keyring                       a Double-O service, the keyring of the operating system
    Environment, File, DotEnv, Function    this process, files, a function of your own
    first_of, FirstOf                      several sources, the first that has it wins
    fetch_all                              several secrets at a time
    Fetched, Provider                      what a provider of your own returns, and is

Each name is loaded when it is first used (PEP 562), and the library of a provider when it is first asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polvo_adapters.loading import load

if TYPE_CHECKING:
    from polvo_adapters.secrets.aws import ParameterStore, SecretsManager
    from polvo_adapters.secrets.batch import fetch_all
    from polvo_adapters.secrets.double_o import DoubleO
    from polvo_adapters.secrets.environment import Environment
    from polvo_adapters.secrets.file import DotEnv, File
    from polvo_adapters.secrets.function import Function
    from polvo_adapters.secrets.inherited import FirstOf, first_of
    from polvo_adapters.secrets.keyring import Keyring
    from polvo_adapters.secrets.provider import Fetched, Provider
    from polvo_adapters.secrets.secret import Secret
    from polvo_adapters.secrets.vault import Vault

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
    "fetch_all",
    "first_of",
]

_HOMES = {
    "DotEnv": "file",
    "DoubleO": "double_o",
    "Environment": "environment",
    "Fetched": "provider",
    "File": "file",
    "FirstOf": "inherited",
    "Function": "function",
    "Keyring": "keyring",
    "ParameterStore": "aws",
    "Provider": "provider",
    "Secret": "secret",
    "SecretsManager": "aws",
    "Vault": "vault",
    "fetch_all": "batch",
    "first_of": "inherited",
}


def __getattr__(name: str) -> Any:
    return load(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
