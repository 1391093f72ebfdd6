"""Evaluates the network policies: which pod may reach which, and what may leave the cluster."""

DISPATCHERS = ("dispatcher-apns", "dispatcher-fcm", "dispatcher-webpush")
# The arrows inside the cluster: (from, to, port). Everything else between our pods is denied.
EDGES = {(dispatcher, "status-collector", 9500) for dispatcher in DISPATCHERS}
# Who may talk to strangers.
OUTSIDE = {*DISPATCHERS, "sms-cascade"}
PORTS = (8080, 9090, 9500, 9600)
COMPONENT = "app.kubernetes.io/component"


def faults(objects):
    pods = {}
    for thing in objects:
        if thing["kind"] in ("Deployment", "Job"):
            labels = thing["spec"]["template"]["metadata"]["labels"]
            pods[labels[COMPONENT]] = labels
    policies = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy"]
    found = []
    for name, labels in pods.items():
        kinds = {kind for p in policies if selects(p["podSelector"], labels) for kind in p["policyTypes"]}
        if kinds != {"Ingress", "Egress"}:
            found.append(f"{name}: not under policies in both directions: {kinds}")
    allowed = {
        (a, b, port) for a in pods for b in pods for port in PORTS
        if may(policies, "egress", pods[a], pods[b], port) and may(policies, "ingress", pods[b], pods[a], port)
    }
    expected = {edge for edge in EDGES if edge[0] in pods and edge[1] in pods}
    found += [f"{a} may reach {b}:{port}" for a, b, port in sorted(allowed - expected)]
    found += [f"{a} cannot reach {b}:{port}" for a, b, port in sorted(expected - allowed)]
    for name, labels in pods.items():
        if leaves(policies, labels) != (name in OUTSIDE):
            found.append(f"{name}: reaches the internet: {leaves(policies, labels)}")
    return found


def rules(policies, direction, labels):
    for policy in policies:
        if selects(policy["podSelector"], labels):
            yield from policy.get(direction) or []


def may(policies, direction, labels, other, port):
    """Whether a rule for the pod lets `other` through; peers in other namespaces and addresses are never our pods."""
    peer = "to" if direction == "egress" else "from"
    for rule in rules(policies, direction, labels):
        ports = [p["port"] for p in rule.get("ports", [])]
        if ports and port not in ports:
            continue
        peers = rule.get(peer)
        if not peers or any(selects(p["podSelector"], other) for p in peers if "podSelector" in p and "namespaceSelector" not in p):
            return True
    return False


def leaves(policies, labels):
    blocks = [p.get("ipBlock", {}) for rule in rules(policies, "egress", labels) for p in rule.get("to", [])]
    return any(b.get("cidr") == "0.0.0.0/0" for b in blocks)


def selects(selector, labels):
    return selector.get("matchLabels", {}).items() <= labels.items()
