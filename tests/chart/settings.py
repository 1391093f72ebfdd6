"""Every variable that a manifest sets has its row in docs/configuration.md."""

import re


def documented(reference):
    return set(re.findall(r"`(CARILLON_[A-Z0-9]+__[A-Z0-9_]+)`", reference.read_text()))


def faults(objects, reference):
    known = documented(reference)
    found = []
    for thing in objects:
        names = list(thing.get("data", {})) if thing["kind"] == "ConfigMap" else []
        if thing["kind"] in ("Deployment", "Job"):
            containers = thing["spec"]["template"]["spec"]["containers"]
            names += [e["name"] for c in containers for e in c.get("env", [])]
        found += unknown(names, known, thing["metadata"]["name"])
    return found


def compose_faults(document, reference):
    known = documented(reference)
    services = document["services"].items()
    return [fault for name, s in services for fault in unknown(s.get("environment") or {}, known, name)]


def unknown(names, known, place):
    return [f"{place}: {n} is not in the reference" for n in names if n.startswith("CARILLON_") and n not in known]
