# shellcheck shell=bash disable=SC2034,SC2154
# Where a stack lies, and the ports and passwords that it keeps. Sourced by stack.sh.

set_places() {
  mkdir -p "$1"
  DIR=$(cd "$1" && pwd -P)
  RABBIT=$DIR/rabbitmq
  PORTS=$DIR/ports
  ENV_FILE=$DIR/stack.env
}

# Ports and passwords are chosen once per DIR and kept, so that a restart comes back at the same URL; ports are chosen anew
# only if nothing of ours runs and somebody else took one meanwhile.
choose_ports() {
  local free port
  if [[ -f $PORTS ]]; then
    load_ports
    if broker_runs || postgres_runs || epmd_runs; then return; fi
    for port in "$AMQP_PORT" "$DIST_PORT" "$EPMD_PORT" "$PG_PORT" "$MANAGEMENT_PORT" "$PROMETHEUS_PORT"; do
      if port_open "$port"; then free=taken; fi
    done
    [[ ${free:-} == taken ]] || return 0
    say "a port of $DIR is taken: choosing others"
  fi
  mapfile -t free < <(free_ports 6)
  [[ ${#free[@]} -eq 6 ]] || die "found no free ports"
  (
    umask 077
    {
      echo "AMQP_PORT=${free[0]}"
      echo "DIST_PORT=${free[1]}"
      echo "EPMD_PORT=${free[2]}"
      echo "PG_PORT=${free[3]}"
      echo "MANAGEMENT_PORT=${free[4]}"
      echo "PROMETHEUS_PORT=${free[5]}"
      echo "AMQP_PASSWORD=${AMQP_PASSWORD:-$(random_word)}"
      echo "PG_PASSWORD=${PG_PASSWORD:-$(random_word)}"
      echo "PG_HOME=${PG_HOME:-$(choose_pg_home)}"
    } >"$PORTS.new"
  )
  mv "$PORTS.new" "$PORTS"
  load_ports
}

load_ports() {
  local key value
  while IFS='=' read -r key value; do
    printf -v "$key" '%s' "$value"
  done <"$PORTS"
}

random_word() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Below the range the kernel gives to outgoing connections: a port that is free now must still be free when a broker
# that was killed comes back to it.
free_ports() {
  local wanted=$1 top=32768 range port tries=0
  if read -r range _ 2>/dev/null </proc/sys/net/ipv4/ip_local_port_range; then top=$range; fi
  ((top > 21000)) || top=32768
  local -A taken=()
  while ((wanted > 0 && tries < 1000)); do
    tries=$((tries + 1))
    port=$((20000 + (RANDOM * 32768 + RANDOM) % (top - 20000)))
    if [[ -n ${taken[$port]:-} ]] || port_open "$port"; then continue; fi
    taken[$port]=1
    wanted=$((wanted - 1))
    echo "$port"
  done
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
