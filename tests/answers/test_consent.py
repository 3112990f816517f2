from __future__ import annotations

from typing import Any

import pytest

from gateway.answers.consent import objection


def form(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    "name",
    [
        *("password", "userPassword", "PASSWORD", "pass_word", "new-passwd", "passphrase", "pwd"),
        *("token", "accessToken", "GITHUB_TOKEN", "tokens", "apikey", "apiKey", "API-KEY", "key", "ssh_keys"),
        *(
            "card",
            "creditCard",
            "cardNumber",
            "cvv",
            "CVC2",
            "pin",
            "pinCode",
            "otp",
            "ssn",
            "iban",
            "secret",
        ),
        *("clientSecret", "credentials", "mnemonic", "one_time_code", "securityCode", "mot_de_passe"),
        *("contraseña", "пароль", "パスワード", "비밀번호", "Kennwort"),
    ],
)
def test_a_field_named_for_a_secret_is_a_persons(name: str) -> None:
    assert objection("Fill in", form(**{name: TEXT, "city": TEXT})) == "the schema asks for a secret"


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "format": "password"},
        {"type": "string", "title": "Your PIN"},
        {"type": "string", "description": "The API key of your account"},
        {"type": "object", "properties": {"inner": {"type": "object", "properties": {"token": TEXT}}}},
        {"type": "array", "items": {"title": "Card numbers"}},
    ],
)
def test_a_secret_is_found_wherever_a_schema_says_it(field: dict[str, Any]) -> None:
    assert objection("Fill in", form(value=field, city=TEXT)) == "the schema asks for a secret"


@pytest.mark.parametrize(
    "message",
    [
        *("Please enter your password", "Paste the API key", "What is your one-time code?", "Your SSN?"),
        *("Type the verification code", "Credit card number?", "Quel est votre mot de passe ?"),
    ],
)
def test_a_message_that_asks_for_a_secret_is_a_persons(message: str) -> None:
    assert objection(message, form(value=TEXT)) == "the message asks for a secret"


@pytest.mark.parametrize(
    "message",
    [
        *(
            "Confirm the booking",
            "Do you approve?",
            "Do you agree to this?",
            "Please accept",
            "Are you sure?",
        ),
        *("Which file shall I delete?", "Is it OK to go on?", "May I continue?", "Permission to read mail?"),
        *("I will erase the disk. Which one?", "Transfer how much?", "Do you want me to send it?"),
    ],
)
def test_a_message_that_asks_for_consent_is_a_persons(message: str) -> None:
    assert objection(message, form(value=TEXT)) == "the message asks for a person's consent"


@pytest.mark.parametrize(
    "name", ["confirm", "isApproved", "agree_to_terms", "acceptTos", "allow", "deleteAll"]
)
def test_a_field_named_for_consent_is_a_persons(name: str) -> None:
    assert (
        objection("Fill in", form(**{name: TEXT, "city": TEXT})) == "the schema asks for a person's consent"
    )


def test_an_option_that_gives_consent_is_a_persons() -> None:
    choice = {
        "type": "string",
        "oneOf": [{"const": "1", "title": "Approve it"}, {"const": "2", "title": "Wait"}],
    }

    assert objection("Fill in", form(step=choice)) == "the schema asks for a person's consent"


@pytest.mark.parametrize(
    "schema",
    [
        {},
        form(),
        form(go={"type": "boolean"}),
        form(a={"type": "boolean"}, b={"type": "boolean"}),
        form(answer={"type": "string", "enum": ["yes", "no"]}),
        form(answer={"enum": ["Proceed", "Abort"]}),
        {**form(ok={"type": "boolean"}, note=TEXT), "required": ["ok"]},
    ],
)
def test_a_yes_or_no_is_a_persons_whatever_it_is_called(schema: dict[str, Any]) -> None:
    assert objection("Ready", schema) == "the form is a yes-or-no question, which only a person may answer"


@pytest.mark.parametrize(
    ("message", "schema"),
    [
        ("Which table would you like?", form(date=TEXT, seats={"type": "integer"})),
        ("What is the key point?", form(summary=TEXT)),
        ("Your name and age", form(name=TEXT, age={"type": "integer"}, subscribed={"type": "boolean"})),
        ("Pick one", form(size={"type": "string", "enum": ["S", "M", "L"]})),
        ("Describe it", form(monkey=TEXT, keyboard=TEXT, footprint=TEXT, cardinality=TEXT, pinned=TEXT)),
    ],
)
def test_an_ordinary_form_may_be_tried(message: str, schema: dict[str, Any]) -> None:
    assert objection(message, schema) is None
