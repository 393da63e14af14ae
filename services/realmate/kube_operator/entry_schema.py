"""The spec of a WebhookSource or a WebhookEndpoint, made from the schema of the file of sources: its names, and the
CRD's OpenAPI schema.

Kubernetes spells a setting in camel case with its unit as a word: `events_per_s` is `eventsPerSecond`. Secrets are
references to Secrets (`secretRefs`) instead of values. charts/webhooksource-spec.yaml and
charts/webhookendpoint-spec.yaml have what is the operator's alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import inspect

Schema = dict[str, Any]

NOT_IN_SPEC = {"enabled", "secrets"}
"""The settings of the file that a spec has not: deletion closes a source, and secrets are references."""
_UNITS = {"s": "seconds", "h": "hours"}


def kubernetes_name(name: str) -> str:
    """`retry_for_s` is `retryForSeconds`, and `events_per_s` is `eventsPerSecond`."""
    words = name.split("_")
    if words[-2:] == ["per", "s"]:
        words[-1] = "second"
    words[-1] = _UNITS.get(words[-1], words[-1])
    return words[0] + "".join(word.capitalize() for word in words[1:])


def to_file(spec: Mapping[str, Any], settings: type) -> dict[str, Any]:
    """Return the spec under the file's names, by the schema of an entry. Fields that the file has not are left out."""
    return _to_file(spec, fields_of(inspect.type_info(settings)))


def spec_properties(settings: type) -> Schema:
    """Return the OpenAPI properties of what a spec shares with the schema of an entry."""
    return _properties(fields_of(inspect.type_info(settings)))


def _to_file(value: Mapping[str, Any], fields: Mapping[str, inspect.Field]) -> dict[str, Any]:
    names = {kubernetes_name(name): name for name in fields}
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = names.get(key)
        if name is None:
            continue
        inner = fields_of(fields[name].type)
        found[name] = _to_file(each, inner) if isinstance(each, Mapping) else each
    return found


def unwrapped(type_: inspect.Type) -> tuple[inspect.Type, str]:
    """Return the type without None and annotations, and its description."""
    description = ""
    while True:
        if isinstance(type_, inspect.Metadata):
            description = (type_.extra_json_schema or {}).get("description", description)
            type_ = type_.type
        elif isinstance(type_, inspect.UnionType) and any(isinstance(each, inspect.NoneType) for each in type_.types):
            others = [each for each in type_.types if not isinstance(each, inspect.NoneType)]
            type_ = others[0] if len(others) == 1 else inspect.UnionType(tuple(others))
        else:
            return type_, description


def structs_of(type_: inspect.Type) -> Sequence[inspect.StructType]:
    """Return the tables that the type may be: one, several with tags, or none."""
    bare, _ = unwrapped(type_)
    members = bare.types if isinstance(bare, inspect.UnionType) else (bare,)
    found = [unwrapped(each)[0] for each in members]
    return [each for each in found if isinstance(each, inspect.StructType)]


def fields_of(type_: inspect.Type) -> dict[str, inspect.Field]:
    """Return the fields of a table; of several with tags, all of theirs, and the tag itself."""
    fields: dict[str, inspect.Field] = {}
    structs = structs_of(type_)
    for struct in structs:
        if struct.tag_field is not None:
            tags = tuple(each.tag for each in structs)
            fields[struct.tag_field] = inspect.Field(
                struct.tag_field, struct.tag_field, inspect.LiteralType(tags), required=True
            )
        fields |= {field.name: field for field in struct.fields}
    return fields


def _properties(fields: Mapping[str, inspect.Field]) -> Schema:
    return {kubernetes_name(name): _schema(field.type) for name, field in fields.items() if name not in NOT_IN_SPEC}


def _schema(type_: inspect.Type) -> Schema:
    bare, description = unwrapped(type_)
    told: Schema = {"description": _spelled(description)} if description else {}
    if structs_of(bare):
        fields = fields_of(bare)
        is_one = len(structs_of(bare)) == 1
        required = [
            kubernetes_name(name)
            for name, field in fields.items()
            if name not in NOT_IN_SPEC and field.required and (is_one or isinstance(field.type, inspect.LiteralType))
        ]
        return {
            "type": "object",
            **told,
            **({"required": required} if required else {}),
            "properties": _properties(fields),
        }
    members = bare.types if isinstance(bare, inspect.UnionType) else (bare,)
    for member in members:  # of a word and a list the word is the default, which a spec says by nothing
        if isinstance(member, inspect.ListType):
            return {**_list(member), **told}
    return {**_scalar(bare), **told}


def _list(type_: inspect.ListType) -> Schema:
    lengths = {"minItems": type_.min_length, "maxItems": type_.max_length}
    known = {name: value for name, value in lengths.items() if value is not None}
    return {"type": "array", **known, "items": _schema(type_.item_type)}


def _scalar(type_: inspect.Type) -> Schema:
    match type_:
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.LiteralType():
            return {"type": "string", "enum": list(type_.values)}
        case inspect.IntType():
            return {"type": "integer", **_bounds(type_)}
        case inspect.FloatType():
            return {"type": "number", **_bounds(type_)}
        case inspect.StrType():
            lengths = {"minLength": type_.min_length, "maxLength": type_.max_length}
            return {"type": "string", **{name: value for name, value in lengths.items() if value is not None}}
        case _:
            raise TypeError(f"no schema for {type_}")


def _bounds(type_: inspect.IntType | inspect.FloatType) -> Schema:
    found: Schema = {}
    if type_.gt is not None:
        found |= {"minimum": _whole(type_.gt), "exclusiveMinimum": True}
    if type_.ge is not None and float(type_.ge).is_integer():
        found |= {"minimum": _whole(type_.ge)}
    elif type_.ge is not None:
        # For whole numbers the API server cuts a fraction of a minimum off, and would let 0 through.
        rule = {"rule": f"self >= {type_.ge}", "message": f"must be at least {type_.ge}"}
        found |= {"x-kubernetes-validations": [rule]}
    if type_.le is not None:
        found |= {"maximum": _whole(type_.le)}
    return found


def _whole(number: float) -> int:
    """Return a bound as a whole number: a definition must not have fractions."""
    if not float(number).is_integer():
        raise ValueError(f"{number} is no whole number")
    return int(number)


def _spelled(description: str) -> str:
    """Return the description with the settings' names as Kubernetes spells them, and pages by their paths."""
    return re.sub(r"\[([\w.]+)\]\(\1\)", r"docs/\1", description.replace("allow_private", "allowPrivate"))
