# shellcheck shell=bash disable=SC2034,SC2154
# Processes by their recorded ids: are they alive, how they begin and end. Sourced by stack.sh.

# A recorded pid counts only while its command line carries the mark: after a reboot the number may be anybody's. One that is ending has lost
# its command line, and shows its name in brackets, before it closes its sockets.
alive() { # pid mark
  local line
  [[ -n $1 ]] || return 1
  line=$(ps -ww -p "$1" -o stat= -o args= 2>/dev/null) || return 1
  [[ $line == *"$2"* || $line =~ ^[^Z\ ]+\ +\[[^]]+\]$ ]]
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
