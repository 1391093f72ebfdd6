"""The rules that every pod of ours keeps, whatever the values say."""

ROLLED = {"Deployment": "template", "Job": "template"}


def pod_of(thing):
    """The pod template of an object, or None."""
    return thing["spec"][ROLLED[thing["kind"]]] if thing["kind"] in ROLLED else None


def checksum(pod):
    return pod["metadata"]["annotations"]["checksum/config"]


def faults(objects):
    found = []
    if not any(pod_of(o) for o in objects):
        return ["nothing was rendered"]
    for thing in objects:
        place = f"{thing['kind']} {thing['metadata']['name']}"
        if thing["kind"] in ("Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
            found.append(f"{place}: the chart makes no {thing['kind']}")
        if thing["kind"] == "ServiceAccount" and thing.get("automountServiceAccountToken") is not False:
            found.append(f"{place}: mounts its token")
        pod = pod_of(thing)
        if pod:
            found += [f"{place}: {fault}" for fault in pod_faults(pod, served=thing["kind"] == "Deployment")]
    return found


def pod_faults(pod, served):
    spec = pod["spec"]
    security = spec.get("securityContext", {})
    rules = {
        "runs as root": security.get("runAsNonRoot") is True and security.get("runAsUser") == 65532,
        "has no seccomp profile": security.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        "gets an API token": spec.get("automountServiceAccountToken") is False,
        "has the default service account": bool(spec.get("serviceAccountName")),
        "gets variables of every Service": spec.get("enableServiceLinks") is False,
        "shares the host": not any(spec.get(k) for k in ("hostNetwork", "hostPID", "hostIPC")),
        "mounts the host": not any("hostPath" in v for v in spec.get("volumes", [])),
    }
    if served:
        grace = next((s for s in [spec.get("terminationGracePeriodSeconds")] if s), 0)
        rules["is killed before its own grace is over"] = grace >= 20
    found = [fault for fault, kept in rules.items() if not kept]
    for container in spec["containers"] + spec.get("initContainers", []):
        found += [f"container {container['name']} {fault}" for fault in container_faults(container, served)]
    return found


def container_faults(container, served):
    security = container.get("securityContext", {})
    resources = container.get("resources", {})
    rules = {
        "writes its root file system": security.get("readOnlyRootFilesystem") is True,
        "keeps capabilities": security.get("capabilities") == {"drop": ["ALL"]},
        "may gain rights": security.get("allowPrivilegeEscalation") is False,
        "is privileged": not security.get("privileged"),
        "asks for nothing": {"cpu", "memory"} <= set(resources.get("requests", {})),
        "has no limit of memory": "memory" in resources.get("limits", {}),
        "runs whatever is newest": not container["image"].endswith(":latest") and (":" in container["image"] or "@" in container["image"]),
        "has a port of the host": not any("hostPort" in p for p in container.get("ports", [])),
        "has a secret in its environment in clear": not any("value" in e for e in container.get("env", [])),
    }
    if served:
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            rules[f"has no {probe} on {path}"] = container.get(probe, {}).get("httpGet", {}).get("path") == path
    return [fault for fault, kept in rules.items() if not kept]


def availability(objects, budgets):
    """Spread on every Deployment; a budget wherever there are two pods or more; replicas or a scaler, never both."""
    found = []
    scaled = {o["spec"]["scaleTargetRef"]["name"]: o for o in objects if o["kind"] == "HorizontalPodAutoscaler"}
    kept = {o["metadata"]["name"] for o in objects if o["kind"] == "PodDisruptionBudget"}
    for thing in (o for o in objects if o["kind"] == "Deployment"):
        name, spec = thing["metadata"]["name"], thing["spec"]
        if (name in scaled) == ("replicas" in spec):
            found.append(f"{name}: replicas and a scaler exclude each other, and one is needed")
        least = scaled[name]["spec"]["minReplicas"] if name in scaled else spec["replicas"]
        if budgets and (least > 1) != (name in kept):
            found.append(f"{name}: {least} pods, and a budget: {name in kept}")
        keys = {c["topologyKey"] for c in spec["template"]["spec"].get("topologySpreadConstraints", [])}
        if keys != {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}:
            found.append(f"{name}: is spread over {keys}")
        selected = spec["selector"]["matchLabels"].items()
        if not selected <= spec["template"]["metadata"]["labels"].items():
            found.append(f"{name}: does not select its own pods")
    return found


# RabbitMQ's and PostgreSQL's images begin as root and write where they please; ours are held to everything.
FOREIGN = {"rabbitmq", "postgres"}


def compose(document):
    found = []
    for name, service in document["services"].items():
        rules = {
            "keeps capabilities": service.get("cap_drop") == ["ALL"],
            "may gain rights": "no-new-privileges:true" in service.get("security_opt", []),
            "has no limit of memory": "mem_limit" in service,
            "has no limit of processes": "pids_limit" in service,
            "listens on other machines' behalf": all(str(p).startswith("127.0.0.1:") for p in service.get("ports", [])),
        }
        if name in FOREIGN:
            rules["has no health check"] = "test" in service.get("healthcheck", {})
        else:
            # What runs once and ends has nobody to ask.
            check = {"disable": True} if service.get("restart") == "no" else {"test": ["CMD", "/app", "--healthy"]}
            rules["has no health check"] = check.items() <= service.get("healthcheck", {}).items()
            rules["writes its root file system"] = service.get("read_only") is True
            rules["runs as root"] = service.get("user") == "65532:65532"
            rules["does not wait for the database"] = "postgres" in service.get("depends_on", {})
        for variable, value in (service.get("environment") or {}).items():
            secret = any(word in variable for word in ("PASS", "KEY", "TOKEN"))
            rules[f"has {variable} in clear"] = not secret or str(value).startswith("${")
        found += [f"{name} {fault}" for fault, kept in rules.items() if not kept]
    return found
