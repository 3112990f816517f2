"""What the everything-server has to show: content blocks, resources, prompts, schemas."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import wave
import zlib
from typing import Any

Json = dict[str, Any]


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\xff\0\0")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _wav() -> bytes:
    """A millisecond of silence."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16))
    return buffer.getvalue()


PNG = base64.b64encode(_png()).decode()
WAV = base64.b64encode(_wav()).decode()


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def image() -> Json:
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


def audio() -> Json:
    return {"type": "audio", "data": WAV, "mimeType": "audio/wav"}


def embedded(uri: str, mime_type: str, words: str) -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": words}}


def object_of(*required: str, **properties: Json) -> Json:
    """Return the schema of an object."""
    return {"type": "object", "properties": properties, "required": list(required)}


STRING: Json = {"type": "string"}
NAME = object_of("name", name=STRING)

DEFAULTS = object_of(
    name={"type": "string", "description": "User name", "default": "John Doe"},
    age={"type": "integer", "description": "User age", "default": 30},
    score={"type": "number", "description": "User score", "default": 95.5},
    status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    verified={"type": "boolean", "description": "Verification status", "default": True},
)


def _titled(**titles: str) -> list[Json]:
    return [{"const": value, "title": title} for value, title in titles.items()]


ENUMS = object_of(
    untitledSingle={"type": "string", "enum": ["option1", "option2", "option3"]},
    titledSingle={"type": "string", "oneOf": _titled(value1="First Option", value2="Second Option")},
    legacyEnum={"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
    untitledMulti={"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
    titledMulti={"type": "array", "items": {"anyOf": _titled(value1="First Choice", value2="Second Choice")}},
)

MODERN_SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": STRING, "city": STRING},
        }
    },
    "properties": {
        "name": STRING,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": STRING,
        "email": STRING,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""JSON Schema 2020-12 beyond what earlier revisions of the protocol allowed; must arrive whole."""

RESOURCES: list[Json] = [
    {"uri": f"test://{name}", "name": name, "description": description, "mimeType": mime_type}
    for name, description, mime_type in (
        ("static-text", "A text that stays as it is", "text/plain"),
        ("static-binary", "A picture of one pixel", "image/png"),
        ("watched-resource", "A text to subscribe to", "text/plain"),
    )
]
TEMPLATES: list[Json] = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "A text made from a parameter of its address",
        "mimeType": "application/json",
    }
]


def read(uri: str) -> Json | None:
    """Return the contents of a resource, or None if there is none."""
    if uri == "test://static-binary":
        return {"uri": uri, "mimeType": "image/png", "blob": PNG}
    made = re.fullmatch(r"test://template/([^/]+)/data", uri)
    if made is not None:
        data = {"id": made[1], "templateTest": True, "data": f"Data for ID: {made[1]}"}
        return {"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}
    words = {
        "test://static-text": "This is the content of the static text resource.",
        "test://watched-resource": "Watched resource content",
    }.get(uri)
    return None if words is None else {"uri": uri, "mimeType": "text/plain", "text": words}


def _prompt(name: str, description: str, *arguments: str) -> Json:
    described = [{"name": each, "description": f"The {each}", "required": True} for each in arguments]
    return {"name": name, "description": description, "arguments": described}


ASKING_PROMPT = "test_input_required_result_prompt"
PROMPTS: list[Json] = [
    _prompt("test_simple_prompt", "A prompt without arguments"),
    _prompt("test_prompt_with_arguments", "A prompt with two arguments", "arg1", "arg2"),
    _prompt("test_prompt_with_embedded_resource", "A prompt that embeds a resource", "resourceUri"),
    _prompt("test_prompt_with_image", "A prompt with a picture"),
    _prompt(ASKING_PROMPT, "A prompt that asks for its context first"),
]


def prompt(name: str, arguments: Json) -> list[Json] | None:
    """Return the content blocks of a prompt that asks for nothing, or None if there is none."""
    if name == "test_simple_prompt":
        return [text("This is a simple prompt for testing.")]
    if name == "test_prompt_with_arguments":
        arg1, arg2 = arguments.get("arg1"), arguments.get("arg2")
        return [text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]
    if name == "test_prompt_with_embedded_resource":
        resource = embedded(
            str(arguments.get("resourceUri")), "text/plain", "Embedded resource content for testing."
        )
        return [resource, text("Please process the embedded resource above.")]
    if name == "test_prompt_with_image":
        return [image(), text("Please analyze the image above.")]
    return None
