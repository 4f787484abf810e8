# shellcheck shell=bash disable=SC2034 # variables used by dev/stack
# Programs that are no part of a stack: each is fetched when somebody first asks for it, and runs in the foreground.
# Sourced by dev/stack.

TOOL='' TOOL_LIB=''

# Sets TOOL, and TOOL_LIB where its libraries came with it. What the system has is taken only if nothing was fetched.
find_tool() { # pgbouncer|promtool|chromium
  local name=$1 size unpacked path
  case $name in
    pgbouncer) path=usr/sbin/pgbouncer size='1 MB' ;;
    promtool) path=usr/bin/promtool size='20 MB' ;;
    chromium) path=usr/lib/chromium/chromium-headless-shell size='90 MB' ;;
  esac
  place_dir "$(dirname "$ROOT_GIVEN")"
  resolve_paths
  unpacked=$ROOT/$name
  TOOL=$unpacked/$path
  if ! unpacked "$unpacked"; then
    if TOOL=$(type -P "$name" || glob_last "/$path"); then return; fi
    if [[ ${RELAY_DEV_FETCH:-1} == 0 ]] ||
      ! fetch "$name" "$size" "$unpacked" "${name}_packages" "${name}_check"; then
      die "no $name found: install it, or let it be fetched (RELAY_DEV_FETCH)"
    fi
    unlock_root
    TOOL=$unpacked/$path
  fi
  # What the system has anyway was not fetched.
  TOOL_LIB=$(library_path "$unpacked") || TOOL_LIB=
}

pgbouncer_packages() { # APT_CONF
  local added
  added=$(added_by "$1" pgbouncer) || return 1
  { echo pgbouncer; echo "$added"; } | sort -u | grep -vE "$NOT_NEEDED"
}

pgbouncer_check() { # FOLDER
  local lib
  lib=$(library_path "$1") || lib=
  LD_LIBRARY_PATH=$lib "$1/usr/sbin/pgbouncer" --version
}

# One program of Prometheus' package, which needs nothing of all that the server's pages do.
promtool_packages() { echo prometheus; } # APT_CONF

promtool_check() { # FOLDER
  rm -rf "${1:?}"/usr/{bin/prometheus,share} "${1:?}/etc"
  "$1/usr/bin/promtool" --version
}

# The browser without a window, which is the smaller half; with a font of which it is known how wide it runs. What only a desktop
# wants stays away, and is larger than all the rest.
chromium_packages() { # APT_CONF
  local added
  added=$(added_by "$1" chromium-headless-shell fonts-liberation fonts-inter-variable) ||
    added=$(added_by "$1" chromium-headless-shell fonts-liberation) || return 1
  { echo chromium-headless-shell; echo fonts-liberation; echo "$added"; } | sort -u | grep -vE "$NOT_NEEDED" |
    grep -vE '^(x11-.*|xdg-utils|libgl1-mesa-dri|libicu[0-9]+|libxml2|debconf)$'
}

chromium_check() { # FOLDER
  local lib
  lib=$(library_path "$1") || lib=
  rm -f "$1"/usr/lib/chromium/{libVkLayer_*,chrome_crashpad_handler}
  # Relative, so that the packages may be moved.
  cat >"$1/fonts.conf" <<'TEXT'
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">usr/share/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias binding="same"><family>system-ui</family><prefer><family>Inter</family><family>Liberation Sans</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>Liberation Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>Liberation Mono</family></prefer></alias>
</fontconfig>
TEXT
  LD_LIBRARY_PATH=$lib:$lib/pulseaudio "$1/usr/lib/chromium/chromium-headless-shell" --version
}
