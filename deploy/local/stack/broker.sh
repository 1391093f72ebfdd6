# shellcheck shell=bash disable=SC2034,SC2154
# RabbitMQ and its epmd. Sourced by stack.sh.

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
