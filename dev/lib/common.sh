# shellcheck shell=bash disable=SC2034 # variables used by the files that source this
# Folders, locks, ports and processes: what both servers need.
# Sourced by dev/stack.

# Set by load_ports; empty until the stack has been brought up once.
PG_PORT='' AMQP_PORT='' DIST_PORT='' EPMD_PORT='' NODE=''

# ---- the user the servers run as ---------------------------------------------

# Postgres refuses to run as root, and a broker has no business being root.
AS_USER=()
RUN_USER=$(id -un 2>/dev/null) || RUN_USER=$(id -u)
RUN_GROUP=$(id -g)
if [[ $(id -u) == 0 ]]; then
  RUN_USER=nobody RUN_GROUP=$(id -g nobody)
  AS_USER=(setpriv --reuid="$RUN_USER" --regid="$RUN_GROUP" --clear-groups)
fi

as_user() { "${AS_USER[@]}" "$@"; }

# mkdir that hands the folder to the server's user.
own_dir() { # MODE DIR...
  local mode=$1; shift
  if [[ ${#AS_USER[@]} -gt 0 ]]; then
    install -d -m "$mode" -o "$RUN_USER" -g "$RUN_GROUP" "$@"
  else
    install -d -m "$mode" "$@"
  fi
}

# ---- where things are --------------------------------------------------------

resolve_paths() {
  DIR=$(realpath -m "$DIR_GIVEN")
  ROOT=$(realpath -m "$ROOT_GIVEN")
}

# Can the server's user use this folder, or the first parent of it that exists?
reachable() { # DIR
  local d=$1
  # RabbitMQ's start scripts do not quote their paths.
  [[ $d != *[[:space:]\"\'\\\*\?\[\;\&\|\$\`]* ]] || return 1
  while [[ ! -e $d ]]; do d=$(dirname "$d"); done
  as_user test -x "$d" 2>/dev/null
}

# A checkout in root's home is closed to `nobody`, and RabbitMQ cannot live under
# a path with a blank in it. Then the folder is made in the temp dir, and the
# wanted place becomes a link to it: every later command just follows the link.
place_dir() { # DIR
  local dir=$1 real
  real=$(realpath -m "$dir")
  if reachable "$real"; then
    mkdir -p "$real" ||
      die "cannot create $real; name writable folders: RELAY_DEV_ROOT=PACKAGES dev/stack up DIR"
    return
  fi
  [[ ! -e $real ]] || rmdir "$real" 2>/dev/null ||
    die "user $RUN_USER, which runs the servers, cannot use $dir; name another folder, e.g.:" \
      "RELAY_DEV_ROOT=/var/tmp/relay-dev/root dev/stack up /var/tmp/relay-dev"
  real=$(mktemp -d "${TMPDIR:-/tmp}/relay-dev.XXXXXX")
  chmod 755 "$real"
  reachable "$real" ||
    die "user $RUN_USER, which runs the servers, can use neither $dir nor $real;" \
      "name a folder it can enter, e.g.: TMPDIR=/var/tmp dev/stack up"
  mkdir -p "$(dirname "$dir")"
  # Two at once: the first link wins, the other's folder was never used.
  ln -sT "$real" "$dir" 2>/dev/null || { rmdir "$real"; return; }
  say "user $RUN_USER cannot use $dir: the files are in $real, and $dir is a link to it"
}

stack_exists() { [[ -e $DIR/.relay-stack ]]; }

# Nothing here but what this script makes when DIR also holds the shared packages?
holds_only_ours() {
  [[ -z $(find "$DIR" -mindepth 1 -maxdepth 1 ! -name root ! -name root.lock \
    ! -name 'root.part.*' ! -name claims ! -name fetch.log -print -quit) ]]
}

# Creates the folder when it is new, takes its lock and settles its ports.
open_stack() {
  place_dir "$DIR_GIVEN"
  place_dir "$(dirname "$ROOT_GIVEN")"
  resolve_paths
  if ! stack_exists; then
    # `wipe` removes DIR, so DIR must never be a folder with other things in it.
    # (A concurrent `up` writes the mark before anything else: hence the second look.)
    holds_only_ours || stack_exists ||
      die "$DIR holds other files; name an empty or new folder"
    : >"$DIR/.relay-stack" || die "cannot write to $DIR; name another DIR"
  fi
  [[ -O $DIR ]] ||
    die "$DIR belongs to user $(stat -c "%U (id %u)" "$DIR"): run this as that user, or name another DIR"
  lock_dir
  mkdir -p "$DIR/log"
  load_ports
  [[ -n $PG_PORT ]] || pick_ports
}

open_existing() {
  [[ -O $DIR || $(id -u) == 0 ]] ||
    die "$DIR belongs to user $(stat -c "%U (id %u)" "$DIR"): run this as that user"
  lock_dir
  load_ports
}

# Settings given to `up` have to hold for a later restart-* as well.
remember_options() {
  [[ -z ${RELAY_DEV_PG_OPTS+set} ]] || printf '%s\n' "$RELAY_DEV_PG_OPTS" >"$DIR/pg.opts"
  [[ -z ${RELAY_DEV_RABBITMQ_CONF+set} ]] ||
    printf '%b\n' "$RELAY_DEV_RABBITMQ_CONF" >"$DIR/rabbitmq.extra.conf"
}

# ---- locks -------------------------------------------------------------------

# flock on a file that a `wipe` may have removed while we waited: the lock then
# is on a file nobody else sees, so check and try again.
take_lock() { # VARIABLE FILE MODE
  local fd
  while :; do
    { exec {fd}>>"$2"; } 2>/dev/null || { exec {fd}<"$2"; } 2>/dev/null || return 1
    flock "$3" -w 600 "$fd" || die "gave up waiting for $2: another dev/stack holds it; see: fuser -v $2"
    [[ $2 -ef /dev/fd/$fd ]] && break
    exec {fd}>&-
    mkdir -p "$(dirname "$2")"
  done
  printf -v "$1" %s "$fd"
}

# One command at a time per stack.
lock_dir() {
  local fd
  take_lock fd "$DIR/lock" -x || die "cannot write to $DIR; name another DIR"
}

# Shared by every `up` from looking for the packages to the servers' start, so
# that a `wipe` cannot take the packages away in between.
ROOT_LOCK=
lock_root() { # shared|exclusive
  unlock_root
  local mode=-s
  [[ $1 == shared ]] || mode=-x
  take_lock ROOT_LOCK "$ROOT.lock" "$mode"
}
unlock_root() {
  [[ -z $ROOT_LOCK ]] || exec {ROOT_LOCK}>&-
  ROOT_LOCK=
}

# ---- ports -------------------------------------------------------------------

# DIR/ports is parsed, not sourced: a damaged file must not run as code.
load_ports() {
  local key value
  [[ -r $DIR/ports ]] || return 0
  while IFS='=' read -r key value; do
    [[ $value =~ ^[0-9]+$ ]] || die "$DIR/ports is damaged; remove the stack with: dev/stack wipe $DIR"
    case $key in
      PG_PORT) PG_PORT=$value ;;
      AMQP_PORT) AMQP_PORT=$value NODE=relay-$value@localhost ;;
      DIST_PORT) DIST_PORT=$value ;;
      EPMD_PORT) EPMD_PORT=$value ;;
    esac
  done <"$DIR/ports"
}

port_open() { # PORT
  (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Four neighbouring ports, picked once and kept: a restarted server must be found
# where its clients left it. They lie below the range the kernel hands out to
# client sockets, else a client could sit on the port while the server is down.
# The claim file keeps two stacks from taking the same block while neither
# listens yet (or one of them is killed).
pick_ports() {
  local low=20000 high=32000 ephemeral base claim try owner claims
  claims=$(dirname "$ROOT")/claims
  read -r ephemeral _ </proc/sys/net/ipv4/ip_local_port_range || ephemeral=32768
  if ((ephemeral > low + 1000 && ephemeral < high)); then high=$ephemeral; fi
  mkdir -p "$claims" 2>/dev/null || true
  for ((try = 0; try < 500; try++)); do
    base=$((low + 4 * ($(random) % ((high - low) / 4))))
    claim=$claims/$base
    if [[ -e $claim ]]; then
      # A claim outlives its stack only when DIR was removed by hand.
      owner=$(cat "$claim" 2>/dev/null) || continue
      [[ -n $owner && ! -d $owner ]] || continue
      rm -f "$claim"
    fi
    # Where the shared folder is read-only for us, chance has to do.
    if [[ -w $claims ]]; then
      (set -o noclobber; echo "$DIR" >"$claim") 2>/dev/null || continue
    fi
    if port_open "$base" || port_open $((base + 1)) || port_open $((base + 2)) ||
      port_open $((base + 3)); then
      rm -f "$claim"
      continue
    fi
    printf '%s\n' "PG_PORT=$base" "AMQP_PORT=$((base + 1))" "DIST_PORT=$((base + 2))" \
      "EPMD_PORT=$((base + 3))" >"$DIR/ports.new"
    mv "$DIR/ports.new" "$DIR/ports"
    load_ports
    return
  done
  die "found no four free ports between $low and $high; stop other stacks with: dev/stack wipe DIR"
}
# Not $RANDOM: its seed depends on pid and time, which two stacks may share.
random() { od -An -N4 -tu4 /dev/urandom | tr -d ' '; }

release_ports() {
  local claims claim
  claims=$(dirname "$ROOT")/claims
  # By content: an `up` may have been interrupted between claim and DIR/ports.
  for claim in "$claims"/*; do
    if [[ $(cat "$claim" 2>/dev/null) == "$DIR" ]]; then rm -f "$claim"; fi
  done
  rmdir "$claims" 2>/dev/null || true
}

# ---- processes ---------------------------------------------------------------

# Each server has a working folder of its own and keeps it as long as it lives.
# That tells our processes from others: a pid file alone may be stale and its
# number be somebody else's by now. (A zombie has no working folder any more.)
pids_in() { # DIR [below]: pids of server processes working in DIR
  local line pid cwd comm
  find /proc/[0-9]*/cwd -maxdepth 0 -printf '%h %l\n' 2>/dev/null |
    while read -r line; do
      pid=${line%% *} pid=${pid#/proc/} cwd=${line#* } cwd=${cwd% (deleted)}
      [[ $cwd == "$1" || ( ${2:-} == below && $cwd == "$1"/* ) ]] || continue
      # Never somebody's shell or pager that happens to stand in the folder.
      { read -r comm <"/proc/$pid/comm"; } 2>/dev/null || continue
      case $comm in
        postgres|postmaster|beam.smp|beam|erl_child_setup|inet_gethost|epmd|rabbitmq-server|memsup|cpu_sup)
          echo "$pid" ;;
      esac
    done || true
}

proc_state() { # PID: R, S, T, Z...
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) }
  echo "${stat%% *}"
}

# The first of the candidate pids that is alive and works in DIR.
live_pid() { # DIR PIDFILE...
  local dir=$1 file pid state
  shift
  for file in "$@"; do
    { read -r pid <"$file"; } 2>/dev/null || continue
    [[ $pid =~ ^[1-9][0-9]*$ ]] || continue
    state=$(proc_state "$pid") || continue
    [[ $state != [ZX] && $(readlink "/proc/$pid/cwd" 2>/dev/null) == "$dir" ]] || continue
    echo "$pid"
    return
  done
  return 1
}

signal_all() { # SIGNAL DIR
  local pids
  pids=$(pids_in "$2")
  # shellcheck disable=SC2086 # one word per pid
  [[ -z $pids ]] || kill "-$1" $pids 2>/dev/null || true
}

wait_none_in() { # DIR SECONDS
  local end=$((SECONDS + $2))
  while [[ -n $(pids_in "$1") ]]; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# SIGKILL until nothing is left: a process may have forked while we listed.
kill_all_in() { # DIR
  local try
  for try in 1 2 3 4 5 6; do
    signal_all KILL "$1"
    if wait_none_in "$1" "$try"; then return; fi
  done
  die "processes $(pids_in "$1" | tr '\n' ' ')in $1 survive SIGKILL; end them by hand"
}

# The daemons this command started, by name.
declare -A SPAWNED=()

# Whether a daemon that is being started is gone; ENDED says how then. The folder that live_pid knows it by is not enough to
# go by: a process that changes its user or its program may hide it for a moment.
ENDED=
has_ended() { # NAME RUNNING
  local pid=${SPAWNED[$1]:-} status=0
  if "$2"; then return 1; fi
  ENDED=
  [[ -n $pid ]] || return 0
  if kill -0 "$pid" 2>/dev/null && [[ $(proc_state "$pid") != [ZX] ]]; then return 1; fi
  wait "$pid" 2>/dev/null || status=$?
  ENDED=", with exit status $status"
  ((status <= 128)) || ENDED=", by signal $((status - 128))"
}

# Starts a daemon that outlives us: own session, none of our file descriptors.
# Any descriptor it kept would hang a caller that waits for the end of our
# output, and would hold our locks for as long as the daemon runs.
spawn() { # NAME CWD COMMAND...
  local name=$1 cwd=$2 pid state
  shift 2
  (
    cd "$cwd" || exit
    exec </dev/null >>"$DIR/log/$name.log" 2>&1
    local fd
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      if ((fd > 2)); then exec {fd}>&-; fi
    done
    # All of these exec, so the pid stays the daemon's.
    exec setsid nohup "${AS_USER[@]}" "$@"
  ) &
  pid=$!
  SPAWNED[$name]=$pid
  echo "$pid" >"$DIR/$name.pid"
  # live_pid knows it by its folder: on a busy machine somebody would ask before it is there, and take it for dead.
  while state=$(proc_state "$pid") && [[ $state != [ZX] && $(readlink "/proc/$pid/cwd" 2>/dev/null) != "$cwd" ]]; do
    sleep 0.01
  done
}
