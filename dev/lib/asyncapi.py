"""Validates docs/asyncapi.yaml, and messages by it; dev/asyncapi runs it."""

import copy
import hashlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import jsonschema
import yaml
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/asyncapi.yaml"
# Of schemas/3.0.0.json of github.com/asyncapi/spec-json-schemas, written as below.
OFFICIAL = "ab3a11d9da97e0619e02eb0a2e9f1d259ed45570b0eeccc8df38a0f02dc912ba"
# Parts of a message, and the key in the document that has the schema of each.
PARTS = {"headers": "headers", "payload": "payload", "properties": "x-amqp-properties"}


def official():
    """The schema of AsyncAPI 3.0.0, if it is that."""
    package = importlib.util.find_spec("xstate_statemachine").submodule_search_locations[0]
    schema = json.loads((Path(package) / "eda/_asyncapi_schema.json").read_text())
    written = json.dumps(schema, sort_keys=True, separators=(",", ":")).encode()
    if hashlib.sha256(written).hexdigest() != OFFICIAL:
        sys.exit("asyncapi: the package has another schema than the official one that was pinned")
    return schema


def leaves(error):
    """What an error comes from: of alternatives, those of the one that fits best."""
    if not error.context:
        return [error]
    branches = {}
    for inner in error.context:
        branches.setdefault(inner.schema_path[0], []).extend(leaves(inner))
    return min(branches.values(), key=lambda found: (len(found), -max(len(one.absolute_path) for one in found)))


def told(error):
    """An error in a line."""
    path = "/".join(map(str, error.absolute_path))
    return f"{path or 'it'}: {error.message[:300]}"


def references(value, path=""):
    """Every $ref, with where it stands."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield path, value["$ref"]
        for key, below in value.items():
            yield from references(below, f"{path}/{key}")
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from references(below, f"{path}/{number}")


def at(document, reference):
    """What a reference leads to, through further ones; None if it leads nowhere."""
    found = document
    for step in reference.removeprefix("#/").split("/"):
        if isinstance(found, dict) and "$ref" in found:
            found = at(document, found["$ref"])
        if not isinstance(found, dict) or step not in found:
            return None
        found = found[step]
    return at(document, found["$ref"]) if isinstance(found, dict) and "$ref" in found else found


def message(document, name):
    """A message of the components with what its traits say."""
    whole = {}
    for trait in document["components"]["messages"][name].get("traits", []):
        whole.update(at(document, trait["$ref"]))
    return {**whole, **document["components"]["messages"][name]}


def closed(document):
    """The document with its objects shut: what a program sends has to be described, what it reads need not."""
    shut = copy.deepcopy(document)
    for schema in shut["components"]["schemas"].values():
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
    return shut


def validator(document, schema):
    """Of a schema that stands somewhere in the document."""
    if set(schema) != {"$ref"}:
        sys.exit("asyncapi: schemas of messages are to be named, below components/schemas")
    registry = Registry().with_resource("urn:document", Resource(contents=document, specification=DRAFT7))
    return jsonschema.Draft7Validator({"$ref": "urn:document" + schema["$ref"]}, registry=registry)


def unfit(document, name, given):
    """What keeps a message from being what the document says of it. Parts that are not given are not looked at."""
    described = message(document, name)
    for part, key in PARTS.items():
        if part not in given:
            continue
        if key not in described:
            yield f"has {part}, and none are described"
            continue
        # Rows have whatever headers their producers give them.
        whole = closed(document) if part == "payload" else document
        for error in validator(whole, described[key]).iter_errors(given[part]):
            yield from (f"{part}: {told(leaf)}" for leaf in leaves(error))


def troubles(document):
    """What is wrong with the document: with its form, or else with what it says."""
    errors = jsonschema.Draft7Validator(official()).iter_errors(document)
    against = sorted({told(leaf) for error in errors for leaf in leaves(error)})
    yield from against
    if against:
        return
    named = set()
    for path, reference in references(document):
        named.add(reference)
        if at(document, reference) is None:
            yield f"{path}: {reference} leads nowhere"
    for kind, components in document["components"].items():
        for name in components:
            if not any(f"{reference}/".startswith(f"#/components/{kind}/{name}/") for reference in named):
                yield f"components/{kind}/{name}: nothing refers to it"
    for name, channel in document["channels"].items():
        places = re.findall(r"\{(\w+)\}", channel["address"])
        if sorted(places) != sorted(channel.get("parameters", {})):
            yield f"channels/{name}: the places in {channel['address']} are not its parameters"
    for name, operation in document["operations"].items():
        for entry in operation.get("messages", []):
            if not entry["$ref"].startswith(operation["channel"]["$ref"] + "/messages/"):
                yield f"operations/{name}: {entry['$ref']} is a message of another channel"
    for name in document["components"]["messages"]:
        for example in message(document, name).get("examples", []):
            yield from (f"components/messages/{name}: its example: {trouble}" for trouble in unfit(document, name, example))


def main(arguments):
    """See dev/asyncapi."""
    document = yaml.safe_load(DOCUMENT.read_text())
    found = list(troubles(document))
    if arguments == ["check"]:
        for given in json.load(sys.stdin):
            name = given.pop("message")
            if name not in document["components"]["messages"]:
                found.append(f"{name}: there is no such message")
                continue
            found.extend(f"{name}: {trouble}" for trouble in unfit(document, name, given))
        json.dump({"document": document, "troubles": found}, sys.stdout)
        return 0
    print("\n".join(found) or f"{len(document['components']['messages'])} messages, and nothing is wrong")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
