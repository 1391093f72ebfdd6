#!/usr/bin/env bash
# A private RabbitMQ and PostgreSQL for development and tests: data, ports, passwords, cookie and epmd of their own,
# reachable on the loopback address only. Nothing under /etc or /var is read or written, so several stacks (and the
# system's own services) live side by side.
set -euo pipefail
unset AMQP_PASSWORD PG_PASSWORD PG_HOME # kept in DIR, not taken from the caller

usage() {
  cat <<'USAGE'
usage: stack.sh VERB DIR [options]
  start DIR [--management]       start what is not running (installs missing packages as root on Debian or Ubuntu);
                                 --management also serves RabbitMQ's management and Prometheus pages
  stop DIR [--wipe]              stop all of it; --wipe also deletes the data
  status DIR                     one line each; exit code 0 only if both run
  env DIR                        print `export` lines for a shell: eval "$(stack.sh env DIR)"
  restart-broker DIR [--kill]    SIGTERM (or SIGKILL), then start on the same port and data; likewise
  restart-postgres DIR [--kill]  `fast` shutdown (or SIGKILL of the postmaster), then start
  start-broker, stop-broker, start-postgres, stop-postgres DIR [--kill]
                                 start-broker --wipe: a broker that is down comes back with an empty disk
  standby-postgres DIR           a second PostgreSQL that follows the first and confirms each of its commits
  switch-postgres DIR            SIGKILL of the first; the second is promoted, the first comes back and can only be read
  adopt-standby DIR              the promoted second takes the first one's data directory and port
  ctl DIR ARGS...                rabbitmqctl against this broker
DIR/stack.env holds CARILLON_AMQP__URL, CARILLON_DATABASE__URL, and STACK_* for addresses and process ids.
USAGE
}

# shellcheck disable=SC2034 # used by the parts
readonly START_SECONDS=120 STOP_SECONDS=30 INSTALL_SECONDS=900

say() { printf '%s\n' "stack: $*" >&2; }
die() { say "$*"; exit 1; }

parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/stack
for part in places processes packages broker postgres standby whole; do
  # shellcheck source=/dev/null
  . "$parts/$part.sh"
done

known() { [[ -f $PORTS ]] || die "nothing was ever started in $DIR"; load_ports; }

locked() {
  if command -v flock >/dev/null; then
    exec 9>"$DIR/lock"
    flock -w $((START_SECONDS + STOP_SECONDS)) 9 || die "another stack.sh works on $DIR"
  fi
}

main() {
  [[ $# -ge 2 ]] || { usage >&2; exit 64; }
  local verb=$1 signal=TERM
  # shellcheck disable=SC2034 # used by the parts
  MANAGEMENT=0 WIPE=0
  case $verb in
    status | env | ctl | stop | stop-broker | stop-postgres)
      [[ -d $2 ]] || { [[ $verb == stop ]] && exit 0; die "no directory $2"; } ;;
  esac
  set_places "$2"
  shift 2
  if [[ $verb == ctl ]]; then
    known
    find_rabbit || die "rabbitmqctl is not found"
    rabbit_environment
    exec timeout 60 "$RABBIT_BIN/rabbitmqctl" "$@"
  fi
  local option
  for option in "$@"; do
    case $option in
      --management) MANAGEMENT=1 ;;
      --kill) signal=KILL ;;
      --wipe) WIPE=1 ;;
      *) usage >&2; exit 64 ;;
    esac
  done
  case $verb in
    env) print_env ;;
    status) known; show_status ;;
    stop) [[ -f $PORTS ]] || exit 0; locked; known; stop_all ;;
    start) locked; need_packages; choose_ports; start_all ;;
    start-broker | restart-broker | stop-broker | start-postgres | restart-postgres | stop-postgres)
      locked
      known
      need_packages
      if [[ $verb == start-broker && $WIPE -eq 1 ]]; then
        ! broker_runs || die "rabbitmq runs: stop-broker first"
        rm -rf "$RABBIT/mnesia"
      fi
      [[ $verb == start-* ]] || "stop_${verb#*-}" "$signal"
      [[ $verb == stop-* ]] || "start_${verb#*-}"
      write_env
      ;;
    standby-postgres | switch-postgres | adopt-standby)
      locked
      known
      need_packages
      case $verb in
        standby-postgres) start_standby ;;
        switch-postgres) switch_postgres ;;
        adopt-standby) adopt_standby ;;
      esac
      write_env
      ;;
    *) usage >&2; exit 64 ;;
  esac
}

main "$@"
