"""What no LLM may fill in for a person: secrets, and consent.

Words are found in names of any spelling (``apiKey``, ``API_KEY``, ``api-key``), titles,
descriptions, formats, options and the message. When in doubt the answer is "a person must":
a form refused here costs a fallback, one let through costs somebody's trust.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, cast


def _plain(text: str) -> str:
    """Take accents and other marks off letters, so that one spelling stands for all."""
    marked = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", "".join(c for c in marked if not unicodedata.combining(c)))


def _any(*alternatives: str, before: str = r"\b", after: str = r"s?\b") -> re.Pattern[str]:
    return re.compile(f"{before}(?:{_plain('|'.join(alternatives))}){after}")


_SECRET_ROOT = _any(
    *("password", "passwd", "passphrase", "passcode", "passwort", "kennwort", "wachtwoord"),
    *("contrasena", "senha", "motdepasse", "пароль", "密码", "パスワード", "비밀번호"),
    *("secret", "credential", "token", "apikey", "creditcard", "debitcard", "cardnumber", "pincode"),
    *("privatekey", "accesskey", "sshkey", "mnemonic", "cvv", "cvc"),
    before="",
    after="",
)
"""Parts of a word that make it a secret wherever they stand."""
_SECRET_PHRASE = _any(
    *("(?:api|private|access|secret|security|license|ssh|encryption) key", "key ?file"),
    *("(?:credit|debit|bank) ?card", "card number", "(?:bank )?account number", "routing number"),
    *("one time", "(?:verification|security|authentication|recovery|access|pin) code", "(?:your|the) pin"),
    *("(?:seed|recovery) phrase", "social security", "maiden name", "security question", "mot de passe"),
    *("ssn", "otp"),
)
"""Whole words, in names and in prose."""
_SECRET_NAME = _any(
    *("key", "card", "pin", "totp", "pwd", "pw", "iban", "mfa", "2fa", "auth", "authorization", "cookie"),
    *("signature", "jwt"),
)
"""Whole words in the schema only: too common in prose to be searched in a message."""
_CONSENT = (
    _any(
        *("confirm", "approv", "agree", "accept", "consent", "authori[sz]", "permission", "permit"),
        *("delet", "eras(?:e|ing)", "destroy", "overwrit", "purg(?:e|ing)", "wip(?:e|ing)", "irreversibl"),
        "acknowledg",
        after="",
    ),
    _any("allow", "grant", "proceed", "remove", "drop", "pay", "payment", "purchase", "buy", "transfer"),
    _any("waiver?", "term", "tos", "gdpr", "optin", "opt in", "sign off", "go ahead", "on your behalf"),
    _any("are you sure", "(?:do you want|would you like) (?:me|us) to", "(?:shall|should|may) (?:i|we)"),
    _any("(?:is (?:it|this|that) )?(?:ok|okay) to", "is (?:it|this|that) (?:ok|okay|fine)"),
)
"""Words that ask a person to consent to something."""
_YES_OR_NO = {
    *("yes", "no", "y", "n", "ok", "okay", "cancel", "true", "false", "accept", "reject", "approve"),
    *("deny", "decline", "allow", "agree", "disagree", "confirm", "abort", "proceed", "continue", "stop"),
}
_BREAKS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[\W_]+")


def objection(message: str, schema: Mapping[str, Any]) -> str | None:
    """Say why a person must answer this form, or None when an LLM may try."""
    if _is_yes_or_no(schema):
        return "the form is a yes-or-no question, which only a person may answer"
    if _asks_secret(_words(message)):
        return "the message asks for a secret"
    if _asks_consent(_words(message)):
        return "the message asks for a person's consent"
    for text in _texts(schema):
        words = _words(text)
        if _asks_secret(words) or _SECRET_NAME.search(" ".join(words)):
            return "the schema asks for a secret"
        if _asks_consent(words):
            return "the schema asks for a person's consent"
    return None


def _words(text: str) -> list[str]:
    """Split names and prose alike into lower-case words without accents."""
    return [word.casefold() for word in _BREAKS.split(_plain(text)) if word]


def _asks_secret(words: list[str]) -> bool:
    if _SECRET_PHRASE.search(" ".join(words)):
        return True
    halves = (first + second for first, second in pairwise(words))
    return any(_SECRET_ROOT.search(word) for word in (*words, *halves))


def _asks_consent(words: list[str]) -> bool:
    text = " ".join(words)
    return any(pattern.search(text) for pattern in _CONSENT)


def _is_yes_or_no(schema: Mapping[str, Any]) -> bool:
    """Whether accepting is all there is to the form: what it must be given is a yes or a no."""
    properties: object = schema.get("properties")
    fields: Mapping[str, object] = (
        cast("Mapping[str, object]", properties) if isinstance(properties, Mapping) else {}
    )
    required: object = schema.get("required")
    names: list[object] = cast("list[object]", required) if isinstance(required, list) else []
    needed = [fields[name] for name in names if isinstance(name, str) and name in fields]
    return all(_is_binary(field) for field in needed or fields.values())


def _is_binary(field: object) -> bool:
    if not isinstance(field, Mapping):
        return False
    node = cast("Mapping[str, Any]", field)
    if node.get("type") == "boolean":
        return True
    options = [word for option in _options(node) for word in _words(option)]
    return bool(options) and _YES_OR_NO.issuperset(options)


def _options(field: Mapping[str, Any]) -> Iterator[str]:
    for key in ("enum", "enumNames"):
        values: object = field.get(key)
        if isinstance(values, list):
            yield from (str(value) for value in cast("list[object]", values))
    for key in ("oneOf", "anyOf"):
        entries: object = field.get(key)
        for entry in cast("list[object]", entries) if isinstance(entries, list) else []:
            if isinstance(entry, Mapping):
                values = cast("Mapping[str, object]", entry)
                yield from (str(values[name]) for name in ("const", "title") if name in values)


def _texts(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield every text of a schema that tells what is asked: names, titles, descriptions, options."""
    waiting: list[object] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(cast("list[object]", node))
        if not isinstance(node, Mapping):
            continue
        fields = cast("Mapping[str, object]", node)
        yield from (str(fields[key]) for key in ("title", "description", "format") if key in fields)
        yield from _options(fields)
        properties = fields.get("properties")
        if isinstance(properties, Mapping):
            yield from cast("Mapping[str, object]", properties)
        waiting.extend(fields.values())
