"""The secrets that a file refers to: by a value, by the name of a file, or by a variable of the environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from realmate.sources.configuration import ConfigurationError, UnusableSecret, decoded
from realmate.sources.schema import Secret
from realmate.sources.signing import WeakSecret, check_guessable, cleaned


def no_file(name: str) -> bytes:
    """Reject every file, where a document may name none."""
    raise ConfigurationError(f"no file can be named here: {name}")


class SecretReader:
    """Reads secrets in the environment and the files of this process."""

    def __init__(self, environment: Mapping[str, str], read: Callable[[str], bytes]) -> None:
        """`read` brings a file that the document names. Raises ConfigurationError."""
        self._environment = environment
        self._read = read

    def secrets(self, place: str, references: Sequence[Secret], key_of: Callable[[str], bytes]) -> list[str]:
        """Return the secrets, after checking that each is strong enough and none is repeated.

        Raises ConfigurationError.
        """
        secrets: dict[bytes, str] = {}
        for number, reference in enumerate(references):
            here = f"{place}.secrets[{number}]"
            try:
                secret = cleaned(self._secret(here, reference))
                key = key_of(secret)
                check_guessable(key)
            except WeakSecret as error:
                raise UnusableSecret(f"{here}: the secret {error}") from None
            if key in secrets:
                raise UnusableSecret(f"{here}: the secret is secrets[{[*secrets].index(key)}] once more")
            secrets[key] = secret
        return [*secrets.values()]

    def _secret(self, place: str, reference: Secret) -> str:
        """Return the secret as it is written there."""
        if reference.file is not None:
            try:
                return decoded(self._read(reference.file), reference.file)
            except ConfigurationError as error:
                raise ConfigurationError(f"{place}: {error}") from None
        if reference.env is not None:
            if reference.env not in self._environment:
                raise ConfigurationError(f"{place}: the environment has no {reference.env}")
            return self._environment[reference.env]
        return reference.value or ""
