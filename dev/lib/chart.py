"""Lints, renders and validates helm/relay, and says what tests/chart asks; dev/chart runs it."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import helm_python
import jsonschema
import yaml
from kubernetes_validate import utils as kubernetes

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/relay"
TESTS = ROOT / "tests/chart"
RELEASE = {"name": "shop", "namespace": "prod"}
# The oldest that Chart.yaml allows, and the newest whose schemas there are.
VERSIONS = ["1.27", kubernetes.latest_version()]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# It reads megabytes for each object otherwise.
kubernetes.schema_contents = functools.lru_cache(maxsize=None)(kubernetes.schema_contents)


def scenarios():
    """Values by the name of their file: minimal of ci/minimal-values.yaml."""
    found = {path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text()) for path in CHART.glob("ci/*.yaml")}
    return dict(sorted(found.items()))


def given(path, known):
    """Values of a file that is no scenario."""
    if not Path(path).is_file():
        sys.exit(f"chart: {path} is no file, and no scenario: {', '.join(known)}")
    return yaml.safe_load(Path(path).read_text()) or {}


def merged(below, above):
    """Maps merged, everything else replaced, as Helm does it."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: merged(below.get(key), above[key]) if key in above else below[key] for key in [*below, *above]}
    return above


def rendered(chart, values):
    """Objects, each with the template it comes from, and the notes."""
    manifests = chart.render(values, **RELEASE)
    notes = manifests.pop("relay/templates/NOTES.txt", "")
    objects = []
    for template, text in sorted(manifests.items()):
        for item in yaml.load_all(text, LOADER):
            if item:
                objects.append({"template": template.removeprefix("relay/templates/"), "object": item})
    return objects, notes


def troubles(values, objects):
    """What lint and the schemas of Kubernetes have against it."""
    found = helm_python.lint(CHART, values, namespace=RELEASE["namespace"])
    yield from (f"lint: {message['error']}" for message in found["messages"] if message["severity"] > 1)
    yield from (f"lint: {error}" for error in found["errors"])
    names = set()
    for entry in objects:
        item = entry["object"]
        name = f"{item['kind']}/{item['metadata']['name']}"
        if name in names:
            yield f"{entry['template']}: {name} is there twice"
        names.add(name)
        yield from (f"{entry['template']}: {name}: {trouble}" for trouble in invalid(item))


def invalid(item):
    group = item["apiVersion"].split("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        schema = json.loads((TESTS / "crds" / f"{item['kind'].lower()}.json").read_text())
        for error in jsonschema.Draft202012Validator(schema).iter_errors(item):
            yield f"{'.'.join(map(str, error.path))}: {error.message}"
        return
    for version in VERSIONS:
        try:
            kubernetes.validate(item, version, strict=True)
        except kubernetes.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes.SchemaNotFoundError as error:
            yield error.message


def other_helm(name, values, objects):
    """What a helm on PATH has against it, or renders differently."""
    helm = shutil.which("helm")
    if not helm:
        return
    file = CHART / "ci" / f"{name}-values.yaml"
    options = ["--namespace", RELEASE["namespace"], "--values", str(file if file.is_file() else name)]
    lint = subprocess.run([helm, "lint", "--strict", CHART, *options], capture_output=True, text=True, check=False)
    if lint.returncode:
        yield f"helm lint: {lint.stdout}{lint.stderr}"
    command = [helm, "template", RELEASE["name"], CHART, *options]
    template = subprocess.run(command, capture_output=True, text=True, check=False)
    if template.returncode:
        yield f"helm template: {template.stderr}"
        return
    theirs = [json.dumps(item, sort_keys=True) for item in yaml.load_all(template.stdout, LOADER) if item]
    ours = [json.dumps(entry["object"], sort_keys=True) for entry in objects]
    if sorted(theirs) != sorted(ours):
        yield "helm template renders other objects than the engine of helm-python-sdk"


# ---- values ------------------------------------------------------------------


def leaves(schema, path=()):
    """Paths of values that are set as a whole, with their schemas."""
    properties = schema.get("properties", {})
    if not properties or path in LEAVES:
        yield path, schema
        return
    for key, below in properties.items():
        if key != "global":
            yield from leaves(below, (*path, key))


# Their schemas have properties, but of relay.toml and not of the chart.
LEAVES = {("config",)}


def at(values, path):
    for key in path:
        values = values[key]
    return values


def nested(path, value):
    for key in reversed(path):
        value = {key: value}
    return value


def other(path, schema, value):
    """A value that the schema allows, and that is not this one."""
    if path in OTHERS:
        return OTHERS[path]
    if "enum" in schema:
        return next(choice for choice in schema["enum"] if choice != value)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "boolean" in kinds:
        return not value
    if "integer" in kinds:
        return (value or 600) + 1
    if "string" in kinds:
        return "7s" if re.fullmatch("[0-9]+s", value or "") else "other"
    if "array" in kinds:
        return [other((), schema["items"], None)]
    if "additionalProperties" in schema and "properties" in schema:
        return {key: other((), below, "") for key, below in schema["properties"].items()}
    return {"other": "other"}


OTHERS = {
    ("config",): {"lease": {"duration": "11s"}},
    ("outbox",): [{"name": "other"}],
    ("outboxSecrets",): {"orders": {"database": {"existingSecret": "other"}}},
    ("image", "digest"): "sha256:" + "1" * 64,
    ("listenAddress",): "127.0.0.2",
    ("networkPolicy", "database", "ports"): [1234],
    ("networkPolicy", "amqp", "ports"): [1234],
    ("extraObjects",): [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}}],
    ("shipping", "settings"): {"SHIPMENTS_RETRY_CAP": "7m"},
    ("shipping", "databases"): {"api": {"existingSecret": "other", "key": "other"}},
    ("shipping", "workers"): [{"name": "other"}],
    ("shipping", "migrations", "grants"): ["other"],
}


def unused(chart, values_of):
    """Values that change no object and no note, nor are refused by a template, in any scenario."""
    # Most show in the first.
    names = sorted(values_of, key=lambda name: (name != "minimal", name != "everything"))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        # Half the time goes into the schema.
        copy = shutil.copytree(CHART, Path(folder) / "relay", ignore=shutil.ignore_patterns("values.schema.json"))
        with helm_python.Chart.load(copy) as loose:
            bases = [(values_of[name], loose.render(values_of[name], **RELEASE)) for name in names]
            paths = list(leaves(chart.schema))
            used = pool.map(lambda leaf: is_used(loose, bases, *leaf), paths)
            return [".".join(path) for (path, _), used in zip(paths, used, strict=True) if not used]


def is_used(chart, bases, path, schema):
    for values, base in bases:
        whole = merged(chart.values, values)
        changed = merged(values, nested(path, other(path, schema, at(whole, path))))
        try:
            if chart.render(changed, **RELEASE) != base:
                return True
        except helm_python.HelmRenderError:
            return True
    return False


def refused(chart, minimal):
    """What is said of values that must be refused; tests/chart/refused.yaml says what that has to name."""
    for case in yaml.safe_load((TESTS / "refused.yaml").read_text()):
        try:
            chart.render(merged(minimal, case["values"]), **RELEASE)
            message = None
        except helm_python.HelmError as error:
            message = str(error)
        yield {"values": json.dumps(case["values"]), "names": case["names"], "message": message}


# ---- what is written from elsewhere ------------------------------------------


def comments(text):
    """The comment in front of every key of values.yaml, by path."""
    found, path, comment = {}, [], []
    for line in text.splitlines():
        stripped = line.strip()
        key = re.match(r"( *)([A-Za-z]+):", line)
        if stripped.startswith("#"):
            comment.append(stripped.lstrip("# "))
        elif key:
            depth = len(key[1]) // 2
            path = [*path[:depth], key[2]]
            found[tuple(path)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def table(chart):
    said = comments((CHART / "values.yaml").read_text())
    values = {path for path, _ in leaves(chart.schema)}
    sections = {path[:length] for path in values for length in range(1, len(path))}
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    for path, meaning in said.items():
        if path in values:
            default = json.dumps(at(chart.values, path))
            default = f"`{default}`" if len(default) <= 40 else "see values.yaml"
        elif path in sections and meaning:
            default = ""
        else:
            continue
        lines.append(f"| `{'.'.join(path)}` | {default} | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- values: dev/chart write -->\n", "<!-- end of values -->\n"


def readme(chart):
    text = (CHART / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + table(chart) + "\n" + END + rest.split(END)[1]


def compact(value, indent=""):
    """JSON with short objects in a line."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) < 100 or not isinstance(value, (dict, list)):
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [f"{deeper}{json.dumps(key)}: {compact(below, deeper)}" for key, below in value.items()]
        return "{\n" + ",\n".join(items) + "\n" + indent + "}"
    return "[\n" + ",\n".join(deeper + compact(below, deeper) for below in value) + "\n" + indent + "]"


# Keys that the chart sets itself: pods are reached from elsewhere.
OWNED = [("admin", "listen")]


def known(schema):
    """relay's JSON Schema as that of config: without secrets, prose and what the chart sets itself."""
    if isinstance(schema, list):
        return [known(below) for below in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, below in schema.items():
        if key in ("description", "default", "title", "$schema"):
            continue
        if key == "properties":
            below = {name: known(one) for name, one in below.items() if not one.get("writeOnly")}
            # A key set to null is as if it were not there: so a default of another file is taken away.
            kept[key] = {name: one for name, one in below.items() if one.get("properties", True)}
        else:
            kept[key] = known(below)
    return kept


def program(name):
    return os.environ.get(f"CHART_{name.upper()}", ROOT / "target/debug" / name)


def program_schema():
    text = subprocess.run([program("relay"), "config", "schema"], capture_output=True, check=True).stdout
    schema = json.loads(text)
    for section, key in OWNED:
        del schema["properties"][section]["properties"][key]
    return known(schema)


def variables():
    """Variables of shipments that are no secrets, and that the chart does not set."""
    found = set()
    for command in ["worker", "api"]:
        text = subprocess.run([program("shipments"), command, "--help"], capture_output=True, check=True).stdout
        found |= set(re.findall(r"\[env: (SHIPMENTS_\w+)", text.decode()))
    chart = r"_LISTEN$|_SECRET(_FILE)?$|API_KEY|PASSWORD|TOKENS_FILE|(DATABASE|AMQP)_CA_FILE"
    return sorted(name for name in found if not re.search(chart, name))


def schema():
    """values.schema.json with what the program says of its own settings."""
    text = json.loads((CHART / "values.schema.json").read_text())
    config = program_schema()
    sections = config["properties"]
    sections["outbox"], several = sections["outbox"]["oneOf"]
    # None, as values.yaml has it, is no list of them.
    del several["minItems"]
    text["properties"]["config"] = config
    text["properties"]["outbox"] = several
    settings = {"type": "object", "additionalProperties": {"type": "string"}, "propertyNames": {"enum": variables()}}
    shipping = text["properties"]["shipping"]["properties"]
    shipping["settings"] = shipping["workers"]["items"]["properties"]["settings"] = settings
    return compact(text) + "\n"


def write(chart):
    (CHART / "values.schema.json").write_text(schema())
    with helm_python.Chart.load(CHART) as chart:
        (CHART / "README.md").write_text(readme(chart))


# ---- commands ----------------------------------------------------------------


def literal(dumper, text):
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def main(arguments):
    yaml.SafeDumper.add_representer(str, literal)
    with helm_python.Chart.load(CHART) as chart:
        if arguments == ["write"]:
            return write(chart)
        values_of = scenarios()
        check = arguments == ["check"]
        if not check and arguments:
            values_of = {name: values_of.get(name) or given(name, values_of) for name in arguments}
        report, failed = {}, False
        for name, values in values_of.items():
            try:
                objects, notes = rendered(chart, values)
            except helm_python.HelmError as error:
                print(f"{name}: {error}", file=sys.stderr)
                failed = True
                continue
            for trouble in [*troubles(values, objects), *other_helm(name, values, objects)]:
                print(f"{name}: {trouble}", file=sys.stderr)
                failed = True
            report[name] = {"values": values, "objects": objects, "notes": notes}
        if failed:
            return 1
        if check:
            report = {
                "scenarios": report,
                "values": chart.values,
                "schema": chart.schema,
                "metadata": chart.metadata,
                "compose": yaml.safe_load((ROOT / "dev/deploy/compose.yaml").read_text()),
                "unused": unused(chart, values_of),
                "refused": list(refused(chart, values_of["minimal"])),
                "readme": readme(chart) == (CHART / "README.md").read_text(),
                "written": schema() == (CHART / "values.schema.json").read_text(),
            }
            json.dump(report, sys.stdout)
            return 0
        for name, one in report.items():
            print(f"# ---- {name}")
            yaml.safe_dump_all([entry["object"] for entry in one["objects"]], sys.stdout, sort_keys=False, width=1000)
    return 0


if __name__ == "__main__":
    # A pager that was left is no error.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main(sys.argv[1:]))
