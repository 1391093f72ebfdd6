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

readonly START_SECONDS=120 STOP_SECONDS=30 INSTALL_SECONDS=900

say() { printf '%s\n' "stack: $*" >&2; }
die() { say "$*"; exit 1; }

# ---- places ------------------------------------------------------------------------------------------------------

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

# ---- processes ---------------------------------------------------------------------------------------------------

# A recorded pid counts only while its command line carries the mark: after a reboot the number may be anybody's.
alive() { # pid mark
  [[ -n $1 ]] && ps -ww -p "$1" -o args= 2>/dev/null | grep -qF -- "$2"
}

recorded() { # pid file
  if [[ -s $1 ]]; then head -n 1 "$1" | tr -dc '0-9'; fi
}

wait_gone() { # pid mark seconds
  local end=$((SECONDS + $3))
  while alive "$1" "$2"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

end_process() { # name pid mark signal
  alive "$2" "$3" || return 0
  kill -s "$4" "$2" 2>/dev/null || true
  if ! wait_gone "$2" "$3" "$STOP_SECONDS"; then
    say "$1 did not stop in $STOP_SECONDS s: SIGKILL"
    kill -s KILL "$2" 2>/dev/null || true
    wait_gone "$2" "$3" 10 || die "$1 (pid $2) cannot be stopped"
  fi
}

# Its own session, so that a Ctrl-C in the terminal reaches the caller and not the servers; fd 9 is the lock.
detached() { # log command...
  local log=$1
  shift
  if command -v setsid >/dev/null; then
    setsid "$@" </dev/null >>"$log" 2>&1 9>&- &
  else
    nohup "$@" </dev/null >>"$log" 2>&1 9>&- &
  fi
}

# ---- packages ----------------------------------------------------------------------------------------------------

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

# ---- RabbitMQ ----------------------------------------------------------------------------------------------------

rabbit_environment() {
  export HOME=$RABBIT/home # the Erlang cookie is read from here
  export RABBITMQ_NODENAME=carillon@localhost
  export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$AMQP_PORT RABBITMQ_DIST_PORT=$DIST_PORT
  export ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$EPMD_PORT
  export RABBITMQ_CONF_ENV_FILE=$RABBIT/rabbitmq-env.conf RABBITMQ_CONFIG_FILE=$RABBIT/rabbitmq.conf
  export RABBITMQ_ADVANCED_CONFIG_FILE=$RABBIT/advanced.config RABBITMQ_ENABLED_PLUGINS_FILE=$RABBIT/enabled_plugins
  export RABBITMQ_MNESIA_BASE=$RABBIT/mnesia RABBITMQ_LOG_BASE=$RABBIT/log RABBITMQ_PID_FILE=$RABBIT/broker.pid
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
}

prepare_rabbit() {
  mkdir -p "$RABBIT/home" "$RABBIT/mnesia" "$RABBIT/log"
  chmod 700 "$RABBIT/home"
  if [[ ! -f $RABBIT/home/.erlang.cookie ]]; then
    (umask 077 && random_word >"$RABBIT/home/.erlang.cookie")
    chmod 400 "$RABBIT/home/.erlang.cookie"
  fi
  : >"$RABBIT/rabbitmq-env.conf" # present and empty: the system's own file is not read
  if [[ $MANAGEMENT -eq 1 ]]; then
    echo '[rabbitmq_management,rabbitmq_prometheus].' >"$RABBIT/enabled_plugins"
  elif [[ ! -f $RABBIT/enabled_plugins ]]; then
    echo '[].' >"$RABBIT/enabled_plugins"
  fi
  (
    umask 077
    {
      echo "listeners.tcp.1 = 127.0.0.1:$AMQP_PORT"
      echo "default_user = carillon"
      echo "default_pass = $AMQP_PASSWORD"
      echo "log.console = false"
      echo "log.file.level = info"
      echo "raft.wal_max_size_bytes = 64000000"
      echo "vm_memory_high_watermark.absolute = 1GB"
      echo "disk_free_limit.absolute = 1GB"
      if grep -q management "$RABBIT/enabled_plugins"; then
        echo "management.tcp.ip = 127.0.0.1"
        echo "management.tcp.port = $MANAGEMENT_PORT"
        echo "prometheus.tcp.ip = 127.0.0.1"
        echo "prometheus.tcp.port = $PROMETHEUS_PORT"
      fi
    } >"$RABBIT/rabbitmq.conf"
  )
}

broker_pid() { recorded "$RABBIT/broker.pid"; }
broker_runs() { alive "$(broker_pid)" "$RABBIT/home"; }
epmd_pid() { recorded "$RABBIT/epmd.pid"; }
epmd_runs() { alive "$(epmd_pid)" "-port $EPMD_PORT"; }

start_epmd() {
  if epmd_runs; then return; fi
  local epmd
  epmd=$(command -v epmd || true)
  [[ -n $epmd ]] || die "epmd is not found; it comes with Erlang"
  # In the foreground of its own session: a daemon would hide its pid.
  detached "$RABBIT/log/epmd.log" "$epmd" -address 127.0.0.1 -port "$EPMD_PORT"
  echo $! >"$RABBIT/epmd.pid"
  local end=$((SECONDS + 10))
  until port_open "$EPMD_PORT"; do
    ((SECONDS < end)) || die "epmd does not answer on 127.0.0.1:$EPMD_PORT"
    sleep 0.05
  done
}

# A broker that answers the protocol header has finished its boot: the listeners open last.
broker_answers() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$AMQP_PORT" || exit 1
    printf 'AMQP\0\0\x09\x01' >&3
    timeout 5 head -c 1 <&3 | grep -q .
  ) 2>/dev/null
}

start_broker() {
  if broker_runs && broker_answers; then
    say "rabbitmq: running on 127.0.0.1:$AMQP_PORT"
    return
  fi
  prepare_rabbit
  local began=$SECONDS told=$SECONDS
  if ! broker_runs; then
    start_epmd
    say "rabbitmq: starting on 127.0.0.1:$AMQP_PORT"
    rm -f "$RABBIT/broker.pid"
    (
      rabbit_environment
      detached "$RABBIT/log/console.log" "$RABBIT_BIN/rabbitmq-server"
      echo $! >"$RABBIT/launcher.pid"
    )
  fi
  until broker_answers && broker_runs; do
    if ((SECONDS - began > START_SECONDS)); then die "rabbitmq is not up after $START_SECONDS s, see $RABBIT/log"; fi
    if ! broker_runs && ((SECONDS - began > 5)) && ! alive "$(recorded "$RABBIT/launcher.pid")" ""; then
      die "rabbitmq stopped while starting, see $RABBIT/log"
    fi
    if ((SECONDS - told >= 5)); then
      told=$SECONDS
      say "rabbitmq: still starting ($((SECONDS - began)) s)"
    fi
    sleep 0.2
  done
  say "rabbitmq: ready after $((SECONDS - began)) s"
}

stop_broker() { # signal
  broker_runs || return 0
  say "rabbitmq: stopping (SIG$1)"
  end_process rabbitmq "$(broker_pid)" "$RABBIT/home" "$1"
}

stop_epmd() { end_process epmd "$(epmd_pid)" "-port $EPMD_PORT" TERM; }

# ---- PostgreSQL --------------------------------------------------------------------------------------------------

# PostgreSQL refuses to run as root, and its user must be able to reach the data.
as_postgres() {
  if [[ $(id -u) -ne 0 ]]; then
    "$@"
  elif command -v runuser >/dev/null; then
    runuser -u postgres -- "$@"
  else
    setpriv --reuid=postgres --regid=postgres --init-groups "$@"
  fi
}

choose_pg_home() {
  if [[ $(id -u) -ne 0 ]] || as_postgres test -x "$DIR" 2>/dev/null; then
    echo "$DIR/postgres"
  else
    mktemp -d "${TMPDIR:-/tmp}/carillon-postgres.XXXXXX"
  fi
}

prepare_postgres() {
  [[ -f $PG_HOME/data/PG_VERSION && -f $PG_HOME/ready ]] && return
  mkdir -p "$PG_HOME"
  rm -rf "$PG_HOME/data"
  (umask 077 && echo "$PG_PASSWORD" >"$PG_HOME/password")
  if [[ $(id -u) -eq 0 ]]; then chown -R postgres: "$PG_HOME"; fi
  chmod 700 "$PG_HOME"
  as_postgres "$PG_BIN/initdb" -D "$PG_HOME/data" -U carillon --auth=scram-sha-256 --pwfile="$PG_HOME/password" \
    -E UTF8 --locale=C.UTF-8 --data-checksums >"$DIR/initdb.log" 2>&1 || die "initdb failed, see $DIR/initdb.log"
  {
    echo "listen_addresses = '127.0.0.1'"
    echo "unix_socket_directories = ''" # a socket's path may not be longer than 107 bytes; DIR may
    echo "shared_buffers = 256MB"
    echo "max_connections = 300"
    echo "fsync = on"
    echo "synchronous_commit = on"
    echo "timezone = 'UTC'"
  } >>"$PG_HOME/data/postgresql.conf"
}

postgres_pid() { recorded "$PG_HOME/data/postmaster.pid"; }
postgres_runs() { alive "$(postgres_pid)" "$PG_HOME/data"; }

launch_postgres() { launch_postgres_in data "$PG_PORT"; }

launch_postgres_in() { # directory port
  # pg_ctl waits until the server takes connections, and for an unclean shutdown's recovery.
  (cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_HOME/$1" -l "$PG_HOME/postgres.log" -o "-p $2" \
    -t "$START_SECONDS" -w start) \
    >"$DIR/pg_ctl.log" 2>&1 </dev/null 9>&- || die "postgresql does not start, see $PG_HOME/postgres.log"
}

start_postgres() {
  if postgres_runs; then
    say "postgresql: running on 127.0.0.1:$PG_PORT"
    return
  fi
  local began=$SECONDS
  say "postgresql: starting on 127.0.0.1:$PG_PORT"
  prepare_postgres
  launch_postgres
  if [[ ! -f $PG_HOME/ready ]]; then
    PGPASSWORD=$PG_PASSWORD timeout 30 "$PG_BIN/psql" -qX -h 127.0.0.1 -p "$PG_PORT" -U carillon -d postgres \
      -c 'CREATE DATABASE carillon' >"$DIR/createdb.log" 2>&1 || die "no database, see $DIR/createdb.log"
    touch "$PG_HOME/ready"
  fi
  say "postgresql: ready after $((SECONDS - began)) s"
}

stop_postgres() { # signal
  postgres_runs || return 0
  say "postgresql: stopping ($([[ $1 == KILL ]] && echo SIGKILL || echo fast))"
  local pid backends backend
  pid=$(postgres_pid)
  if [[ $1 != KILL ]]; then
    end_process postgresql "$pid" "$PG_HOME/data" INT # SIGINT is PostgreSQL's fast shutdown
    return
  fi
  backends=$(ps -o pid= --ppid "$pid" 2>/dev/null || true)
  end_process postgresql "$pid" "$PG_HOME/data" KILL
  # Orphaned backends hold the shared memory until they notice; a new postmaster refuses to start before that.
  for backend in $backends; do
    wait_gone "$backend" postgres "$STOP_SECONDS" || die "backend $backend outlives its postmaster"
  done
}

# ---- a second PostgreSQL ------------------------------------------------------------------------------------------

standby_pid() { recorded "$PG_HOME/standby/postmaster.pid"; }
standby_runs() { alive "$(standby_pid)" "$PG_HOME/standby"; }

sql() { # port statement
  PGPASSWORD=$PG_PASSWORD timeout 30 "$PG_BIN/psql" -qAtX -h 127.0.0.1 -p "$1" -U carillon -d postgres -c "$2"
}

start_standby() {
  postgres_runs || die "postgresql does not run"
  if standby_runs; then return; fi
  rm -rf "$PG_HOME/standby"
  say "standby: copying"
  # Its password goes into the copy's settings, which only its owner reads.
  (cd / && as_postgres env PGPASSWORD="$PG_PASSWORD" "$PG_BIN/pg_basebackup" -h 127.0.0.1 -p "$PG_PORT" -U carillon \
    -D "$PG_HOME/standby" -R -X stream -c fast) >"$DIR/basebackup.log" 2>&1 9>&- || die "no copy, see $DIR/basebackup.log"
  STANDBY_PORT=$(free_ports 1)
  echo "STANDBY_PORT=$STANDBY_PORT" >"$DIR/standby"
  launch_postgres_in standby "$STANDBY_PORT"
  sql "$PG_PORT" "ALTER SYSTEM SET synchronous_standby_names = '*'" >/dev/null
  sql "$PG_PORT" "SELECT pg_reload_conf()" >/dev/null
  say "standby: follows on 127.0.0.1:$STANDBY_PORT"
}

switch_postgres() {
  standby_runs || die "there is no standby"
  load_standby
  stop_postgres KILL
  (cd / && as_postgres "$PG_BIN/pg_ctl" -D "$PG_HOME/standby" -w promote) >>"$DIR/pg_ctl.log" 2>&1 9>&- || die "no promotion, see $DIR/pg_ctl.log"
  # As a former primary that somebody brought back: nobody writes to it, and whoever is connected must notice.
  as_postgres touch "$PG_HOME/data/standby.signal"
  launch_postgres
  say "standby: promoted on 127.0.0.1:$STANDBY_PORT, the former primary can be read on 127.0.0.1:$PG_PORT"
}

adopt_standby() {
  standby_runs || die "there is no standby"
  stop_postgres TERM
  end_process standby "$(standby_pid)" "$PG_HOME/standby" INT
  rm -rf "$PG_HOME/data" "$DIR/standby"
  mv "$PG_HOME/standby" "$PG_HOME/data"
  launch_postgres
  say "postgresql: the former standby runs on 127.0.0.1:$PG_PORT"
}

load_standby() {
  STANDBY_PORT=
  if [[ -f $DIR/standby ]]; then STANDBY_PORT=$(sed -n 's/^STANDBY_PORT=//p' "$DIR/standby"); fi
}

stop_standby() {
  standby_runs || return 0
  end_process standby "$(standby_pid)" "$PG_HOME/standby" INT
}

# ---- verbs -------------------------------------------------------------------------------------------------------

write_env() {
  (
    umask 077
    {
      echo "CARILLON_AMQP__URL=amqp://carillon:$AMQP_PASSWORD@127.0.0.1:$AMQP_PORT/%2f"
      echo "CARILLON_DATABASE__URL=postgres://carillon:$PG_PASSWORD@127.0.0.1:$PG_PORT/carillon"
      if grep -q management "$RABBIT/enabled_plugins" 2>/dev/null; then
        echo "STACK_MANAGEMENT_URL=http://carillon:$AMQP_PASSWORD@127.0.0.1:$MANAGEMENT_PORT"
        echo "STACK_PROMETHEUS_URL=http://127.0.0.1:$PROMETHEUS_PORT/metrics"
      fi
      echo "STACK_BROKER_PID=$(broker_pid)"
      echo "STACK_EPMD_PID=$(epmd_pid)"
      echo "STACK_POSTGRES_PID=$(postgres_pid)"
      echo "STACK_POSTGRES_HOME=$PG_HOME"
      load_standby
      if [[ -n $STANDBY_PORT ]]; then echo "STACK_STANDBY_PORT=$STANDBY_PORT"; fi
    } >"$ENV_FILE.new"
  )
  mv "$ENV_FILE.new" "$ENV_FILE"
}

start_all() {
  local broker code=0
  start_broker &
  broker=$!
  (start_postgres) || code=1
  wait "$broker" || code=1
  [[ $code -eq 0 ]] || die "not everything started"
  write_env
  say "ready: $ENV_FILE"
}

stop_all() {
  (
    stop_broker TERM
    stop_epmd
  ) &
  local broker=$! code=0
  (stop_standby && stop_postgres TERM) || code=1
  wait "$broker" || code=1
  [[ $code -eq 0 ]] || die "not everything stopped"
  rm -f "$ENV_FILE"
  if [[ $WIPE -eq 1 ]]; then
    rm -rf "$PG_HOME" "$RABBIT" "$PORTS" "$DIR/standby"
    say "data deleted"
  fi
  say "stopped"
}

show_status() {
  local code=0
  if broker_runs && broker_answers; then echo "rabbitmq   up    127.0.0.1:$AMQP_PORT  pid $(broker_pid)"; else
    echo "rabbitmq   down"
    code=3
  fi
  if postgres_runs; then echo "postgresql up    127.0.0.1:$PG_PORT  pid $(postgres_pid)"; else
    echo "postgresql down"
    code=3
  fi
  return "$code"
}

print_env() {
  [[ -f $ENV_FILE ]] || die "not started: no $ENV_FILE"
  local key value
  while IFS='=' read -r key value; do
    printf "export %s='%s'\n" "$key" "$value"
  done <"$ENV_FILE"
}

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
