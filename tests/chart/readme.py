"""The table of values in the chart's README, made of values.schema.json (meaning) and values.yaml (default)."""

import json

import yaml

BEGIN, END = "<!-- values: begin (tests/chart/check.sh --write) -->", "<!-- values: end -->"


def resolve(schema, node):
    """Follows a reference; a description beside it stays."""
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    return node


def rows(schema, values, node, path):
    node = resolve(schema, node)
    # What a service may be given is explained once, at `defaults`.
    deeper = node.get("properties", {}) and not path.startswith("services.")
    if path and not deeper:
        yield path, values, node["description"]
        return
    for key, child in node["properties"].items():
        if path or key in values:
            below = values.get(key) if isinstance(values, dict) else None
            yield from rows(schema, below, child, f"{path}.{key}" if path else key)


def table(chart):
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    lines = ["| key | default | meaning |", "|---|---|---|"]
    for path, value, meaning in rows(schema, values, schema, ""):
        default = "" if value is None else f"`{json.dumps(value)}`"
        lines.append(f"| `{path}` | {default} | {meaning} |")
    return "\n".join(lines)


def split(chart):
    text = (chart / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return before, rest.split(END)[1]


def write(chart):
    before, after = split(chart)
    (chart / "README.md").write_text(f"{before}{BEGIN}\n{table(chart)}\n{END}{after}")


def stale(chart):
    before, after = split(chart)
    right = f"{before}{BEGIN}\n{table(chart)}\n{END}{after}"
    same = (chart / "README.md").read_text() == right
    return [] if same else ["is stale: tests/chart/check.sh --write renews it"]


def lax(chart):
    """Places of the schema where an unknown key would pass, and keys without an explanation."""
    schema = json.loads((chart / "values.schema.json").read_text())
    found = []

    def look(node, place):
        if "$ref" not in node and "description" not in node and place.count(".") and not place.endswith("[]"):
            found.append(f"{place}: has no description")
        for key, child in node.get("properties", {}).items():
            look(child, f"{place}.{key}")
        if "properties" in node and node.get("additionalProperties") is not False:
            found.append(f"{place}: takes unknown keys")
        if isinstance(node.get("items"), dict):
            look(node["items"], f"{place}[]")

    look({**schema, "description": ""}, "values")
    look({**schema["$defs"]["service"]}, "service")
    return found
