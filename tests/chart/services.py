"""Asks the services' own binaries whether they accept what the chart and the reference of settings say (`SERVICE --check`)."""

import re
import subprocess

SECONDS = 30
# What stands in for secrets and for settings that have no default.
SAMPLES = {
    "CARILLON_AMQP__URL": "amqp://carillon:x@rabbitmq:5672/%2f",
    "CARILLON_DATABASE__URL": "postgres://carillon:x@postgres:5432/carillon",
    "CARILLON_SECRETS__KEY": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
    "CARILLON_OPERATOR__KEY": "cak_000000000000000000000000",
    "CARILLON_INTERNAL__TOKEN": "x" * 32,
    "CARILLON_LEDGER__URL": "http://status-collector:9500",
    "CARILLON_HTTP__PUBLIC_URL": "https://push.example.com",
    "CARILLON_RUNTIME__WORKER_THREADS": "2",
    "CARILLON_APNS__PRODUCTION_URL": "https://apns.example.com",
    "CARILLON_APNS__SANDBOX_URL": "https://apns.example.com:2197",
    "CARILLON_FCM__URL": "http://127.0.0.1:1",
    "CARILLON_FCM__ALLOW_HOSTS": "oauth.example.com,oauth.example.com:8443",
    "CARILLON_WEBPUSH__ALLOW_HOSTS": "push.example.com",
    "CARILLON_TLS__EXTRA_CA": "/etc/carillon/ca/root.pem",
    "CARILLON_SMSAPI__URL": "https://sms.example.com",
}
# Its text is bound to a kind of secret; the services' own tests have it.
UNTRIED = {"CARILLON_SECRETS__KIND_KEYS"}


def check(binary, variables):
    """What a service says against these settings; nothing when it accepts them."""
    done = subprocess.run([binary, "--check"], env=variables, capture_output=True, text=True, timeout=SECONDS)
    return [] if done.returncode == 0 else [f"{binary.name}: {line}" for line in done.stderr.strip().splitlines()]


def accepted(objects, directory):
    """Faults of the variables that each Deployment gives its service."""
    data = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    found = []
    for thing in (o for o in objects if o["kind"] == "Deployment"):
        container = thing["spec"]["template"]["spec"]["containers"][0]
        variables = dict(data[thing["metadata"]["name"]])
        names = {e["name"] for e in container["env"]}
        if names & UNTRIED:
            continue
        variables |= {name: SAMPLES[name] for name in names}
        found += check(directory / container["name"], variables)
    return found


def reference(names, directory, page):
    """Faults of the reference: a key that no service knows, a default that its service refuses."""
    variables, found = {}, []
    for setting, default in re.findall(r"^\| `(CARILLON_\w+)` \| ([^|]+) \|", page.read_text(), re.MULTILINE):
        literal = re.fullmatch(r"`(.+)`", default.strip())
        if setting in UNTRIED:
            continue
        if setting not in SAMPLES and not literal:
            found.append(f"{setting}: no default to try and no sample in services.py")
        variables[setting] = SAMPLES.get(setting) or literal[1]
    return found + [fault for name in names for fault in check(directory / name, variables)]
