"""Renders the chart in every case and judges it; see check.sh.

`--write` renews the table of values in the README; `--services target/debug` asks the built services whether they accept the
settings that the chart gives them and that docs/configuration.md names.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import yaml

import hardening
import network
import readme
import services
import settings

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "carillon"
KUBERNETES = ["1.29", "1.33", "1.37"]
SECONDS = 120


class Checks:
    """Counts what holds and says what does not."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def that(self, name, faults):
        if not faults:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAILED {name}", file=sys.stderr)
        for fault in faults:
            print(f"    {fault}", file=sys.stderr)


def run(*command):
    """Output of a command: (exit code, standard output, standard error)."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=SECONDS, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


def succeeds(*command):
    """The faults of a command that must succeed: what it printed."""
    code, out, err = run(*command)
    return [] if code == 0 else (out + err).strip().splitlines() or [f"exit code {code}"]


class Chart:
    def __init__(self, helm, tools, binaries, checks):
        self.helm, self.tools, self.binaries, self.checks = helm, tools, binaries, checks
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="carillon-chart-"))

    def files(self, case):
        """The values files of a case; `ha` lies on top of the shipped overlay."""
        below = [CHART / "values-ha.yaml"] if case.stem == "ha-values" else []
        return [part for file in [*below, case] for part in ("--values", file)]

    def template(self, *options):
        return run(self.helm, "template", "demo", CHART, "--namespace", "push", *options)

    def case(self, case):
        """Lints, renders and judges one case; returns its objects."""
        name, values = case.stem.removesuffix("-values"), self.files(case)
        objects = []
        for version in KUBERNETES:
            lint = succeeds(self.helm, "lint", "--strict", "--quiet", CHART, "--kube-version", version, *values)
            self.checks.that(f"{name}, Kubernetes {version}: helm lint --strict", lint)
            code, out, err = self.template("--kube-version", version, *values)
            self.checks.that(f"{name}, Kubernetes {version}: helm template", [] if code == 0 else err.splitlines())
            if code != 0:
                continue
            render = self.directory / f"{name}-{version}.yaml"
            render.write_text(out)
            validated = succeeds(self.tools / "kubernetes-validate", "--strict", "--quiet", "-k", version, render)
            self.checks.that(f"{name}, Kubernetes {version}: schemas", validated)
            objects = [o for o in yaml.safe_load_all(out) if o]
        notes = succeeds(self.helm, "install", "demo", CHART, "--namespace", "push", "--dry-run=client", *values)
        self.checks.that(f"{name}: notes", notes)
        self.judge(name, objects)
        return objects

    def judge(self, name, objects):
        self.checks.that(f"{name}: hardening", hardening.faults(objects))
        self.checks.that(f"{name}: availability", hardening.availability(objects, "no-policies" not in name))
        self.checks.that(f"{name}: settings are documented", settings.faults(objects, ROOT / "docs/configuration.md"))
        if self.binaries:
            self.checks.that(f"{name}: the services accept it", services.accepted(objects, self.binaries.resolve()))
        if name != "no-policies":
            self.checks.that(f"{name}: network", network.faults(objects))

    def refusals(self):
        """Every values text of refusals.yaml must be refused, and for the reason it names."""
        for refusal in yaml.safe_load((ROOT / "tests/chart/refusals.yaml").read_text()):
            file = self.directory / "refused.yaml"
            file.write_text(yaml.safe_dump(refusal["values"]))
            code, _, err = self.template("--values", file)
            fault = []
            if code == 0:
                fault = ["was accepted"]
            elif refusal["says"] not in err:
                fault = [f"says nothing of {refusal['says']!r}:", *err.splitlines()]
            self.checks.that(f"refused: {refusal['name']}", fault)


def specials(chart, objects):
    """What only one case shows."""
    minimal, plain, own = objects["minimal"], objects["plain-job"], objects["own-images"]

    def images(rendered):
        pods = [hardening.pod_of(o) for o in rendered]
        return {c["name"]: c["image"] for p in pods if p for c in p["spec"]["containers"]}

    chart.checks.that("a digest wins over a tag, a tag of one's own over the common one", [] if (
        images(own)["dispatcher-apns"].startswith("registry.example.com/push/dispatcher-apns@sha256:")
        and images(own)["segmenter"] == "registry.example.com/push/segmenter-canary:edge"
        and images(own)["status-collector"].endswith(":2026.11")) else [str(images(own))])
    hooks = [o["kind"] for o in minimal if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    chart.checks.that("the hook brings all it needs", [] if sorted(hooks) == ["Job", "NetworkPolicy", "ServiceAccount"] else hooks)
    hooks = [o["kind"] for o in plain if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    chart.checks.that("the plain job is no hook", hooks)
    changed = chart.template("--set", "settings.CARILLON_TELEMETRY__LOG=debug")[1]
    before = {o["metadata"]["name"]: hardening.pod_of(o) for o in minimal if o["kind"] == "Deployment"}
    same = [
        o["metadata"]["name"] for o in yaml.safe_load_all(changed)
        if o and o["kind"] == "Deployment"
        and hardening.checksum(hardening.pod_of(o)) == hardening.checksum(before[o["metadata"]["name"]])
    ]
    chart.checks.that("a changed setting starts the pods again", same)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--helm", type=pathlib.Path, required=True)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--services", type=pathlib.Path, help="where the services' binaries are; they are asked too")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.write:
        readme.write(CHART)

    checks = Checks()
    chart = Chart(options.helm, options.bin, options.services, checks)
    schema = CHART / "values.schema.json"
    checks.that("the schema is a schema", succeeds(options.bin / "check-jsonschema", "--check-metaschema", schema))
    checks.that("the schema is strict", readme.lax(CHART))
    checks.that("the README's table is the schema's", readme.stale(CHART))
    objects = {case.stem.removesuffix("-values"): chart.case(case) for case in sorted((CHART / "ci").glob("*.yaml"))}
    chart.refusals()
    if all(objects.values()):
        specials(chart, objects)

    if options.services:
        names = [o["metadata"]["labels"]["app.kubernetes.io/component"] for o in objects["minimal"] if o["kind"] == "Deployment"]
        checks.that("the reference of settings is the services'",
                    services.reference(names, options.services.resolve(), ROOT / "docs/configuration.md"))

    compose = ROOT / "deploy/compose.yaml"
    checks.that("compose.yaml: schema",
                succeeds(options.bin / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", compose))
    checks.that("compose.yaml: containment", hardening.compose(yaml.safe_load(compose.read_text())))
    checks.that("compose.yaml: settings are documented",
                settings.compose_faults(yaml.safe_load(compose.read_text()), ROOT / "docs/configuration.md"))
    checks.that("Dockerfile: hadolint", succeeds(options.bin / "hadolint", ROOT / "deploy/Dockerfile"))
    rules = "{extends: default, rules: {line-length: {max: 140}, document-start: disable, comments: {min-spaces-from-content: 1}, braces: {max-spaces-inside: 1}}}"
    files = [compose, CHART / "values.yaml", CHART / "values-ha.yaml", CHART / "Chart.yaml", *sorted((CHART / "ci").glob("*.yaml"))]
    checks.that("YAML", succeeds(options.bin / "yamllint", "--strict", "-d", rules, *files))

    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
