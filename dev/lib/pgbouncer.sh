# shellcheck shell=bash
# pgbouncer: no part of a stack. It is fetched when somebody first asks for it, and runs in the foreground.
# Sourced by dev/stack.

BOUNCER='' BOUNCER_LIB=''

# Sets BOUNCER; fetches the package if there is none.
bouncer_find() {
  local unpacked=$ROOT/pgbouncer
  if [[ ! -e $unpacked ]]; then
    BOUNCER=$(type -P pgbouncer) || BOUNCER=$(glob_last /usr/sbin/pgbouncer) || BOUNCER=
    [[ -z $BOUNCER ]] || return 0
    [[ ${RELAY_DEV_FETCH:-1} != 0 ]] || return 1
    bouncer_fetch || return 1
  fi
  BOUNCER=$unpacked/usr/sbin/pgbouncer
  # What the system has anyway was not fetched.
  BOUNCER_LIB=$(library_path "$unpacked") || BOUNCER_LIB=
}

bouncer_fetch() {
  local tool work log
  for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || { say "$tool not found: cannot fetch pgbouncer"; return 1; }
  done
  lock_root exclusive || { say "cannot write to $(dirname "$ROOT")"; return 1; }
  # Somebody else may have fetched it while we waited for the lock.
  [[ ! -e $ROOT/pgbouncer ]] || return 0
  work=$ROOT.part.$$ log=$(dirname "$ROOT")/fetch.log
  mkdir -p "$work" "$ROOT"
  say "fetching pgbouncer (once, about 1 MB) into $ROOT"
  if (bouncer_unpack "$work") >"$log" 2>&1; then
    mv "$work/root" "$ROOT/pgbouncer"
    rm -rf "$work" "$log"
    return 0
  fi
  { echo "---- last lines of $log"; tail -n 25 "$log"; echo "----"; } >&2
  rm -rf "$work"
  say "fetching pgbouncer failed (see the lines above; network, package sources?)"
  return 1
}

bouncer_unpack() { # WORK
  local work=$1 conf=$1/apt.conf added lib
  write_apt_conf "$work"
  apt-get -qq -c "$conf" update || true
  added=$(apt-get -c "$conf" -s --no-install-recommends install pgbouncer) || { echo "$added"; return 1; }
  added=$({ echo pgbouncer; awk '/^Inst /{print $2}' <<<"$added"; } | sort -u | grep -vE "$NOT_NEEDED") || return 1
  # shellcheck disable=SC2086 # one word per package
  unpack_packages "$work" $added || return 1
  lib=$(library_path "$work/root") || lib=
  LD_LIBRARY_PATH=$lib "$work/root/usr/sbin/pgbouncer" --version
}
