# shellcheck shell=bash disable=SC2034,SC2154
# The programs that a stack needs, installed where that is possible. Sourced by stack.sh.

find_rabbit() {
  local candidate
  # Debian's /usr/sbin wrappers change user and directory; the scripts behind them run as anybody.
  for candidate in /usr/lib/rabbitmq/bin "$(dirname "$(command -v rabbitmq-server || echo /nowhere/x)")"; do
    if [[ -x $candidate/rabbitmq-server ]]; then
      RABBIT_BIN=$candidate
      return 0
    fi
  done
  return 1
}

find_postgres() {
  local candidate
  for candidate in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(command -v initdb || echo /nowhere/x)")"; do
    if [[ -x $candidate/initdb && -x $candidate/pg_ctl ]]; then
      PG_BIN=$candidate
      return 0
    fi
  done
  return 1
}

need_packages() {
  if find_rabbit && find_postgres; then return; fi
  if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
    die "RabbitMQ (3.10 or newer) and PostgreSQL (15 or newer) are needed. Debian, Ubuntu: apt-get install rabbitmq-server postgresql; macOS: brew install rabbitmq postgresql@15; or use deploy/compose.yaml"
  fi
  say "installing rabbitmq-server and postgresql"
  {
    timeout "$INSTALL_SECONDS" apt-get update
    DEBIAN_FRONTEND=noninteractive timeout "$INSTALL_SECONDS" \
      apt-get install -y --no-install-recommends rabbitmq-server postgresql
  } >"$DIR/install.log" 2>&1 || die "installation failed, see $DIR/install.log"
  find_rabbit || die "rabbitmq-server was installed but is not found"
  find_postgres || die "postgresql was installed but is not found"
}
