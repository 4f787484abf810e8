# Packages from the Python package index, for dev/chart and dev/asyncapi; sourced by them, at the repository's top. Leaves
# PYTHONPATH set. One folder for both: where there is no pip, getting one takes longer than all the rest.
# shellcheck shell=bash
tools=.relay-dev-python
# What is not pinned follows from these. A new version makes the folder anew.
#   helm-python-sdk, kubernetes-validate   Helm's engine, and Kubernetes' schemas
#   xstate-statemachine                    carries the official schema of AsyncAPI 3.0.0; dev/lib/asyncapi.py looks whether it does
#   jsonschema, PyYAML                     what the former need anyway
packages=(helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 xstate-statemachine==0.11.0 jsonschema==4.26.0 PyYAML==6.0.3)
wanted="$(python3 -V) ${packages[*]}"

say() { printf 'python: %s\n' "$*" >&2; }

# Not in a virtual environment: Debian's Python has neither venv nor pip, but its pip can be unpacked and run.
pip() {
  local wheel
  if python3 -m pip --version >/dev/null 2>&1; then
    python3 -m pip "$@"
  else
    wheel=$(unpacked_pip) && python3 "$wheel/pip" "$@"
  fi
}

unpacked_pip() {
  local work=$PWD/$tools/debian
  if [[ ! -d $work/root ]]; then
    # shellcheck source=packages.sh
    (. dev/lib/packages.sh && write_apt_conf "$work" && cd "$work" &&
      { apt-get -qq -c "$work/apt.conf" update || true; } &&
      apt-get -qq -c "$work/apt.conf" download python3-pip-whl && dpkg-deb -x python3-pip-whl_*.deb root) >&2 || return 1
  fi
  printf '%s\n' "$work"/root/usr/share/python-wheels/pip-*.whl | tail -n 1
}

fetch_python() {
  local attempt log=$tools/fetch.log
  rm -rf "$tools"
  mkdir -p "$tools"
  say "fetching Helm's engine, and the schemas of Kubernetes and AsyncAPI (once, about 100 MB) into $tools"
  for attempt in 1 2 3; do
    if pip install --quiet --disable-pip-version-check --no-input --upgrade --only-binary :all: \
      --target "$tools/packages" "${packages[@]}" >"$log" 2>&1; then
      printf '%s\n' "$wanted" >"$tools/fetched"
      rm -rf "$log" "$tools/debian"
      return 0
    fi
    say "attempt $attempt failed"
    sleep "$attempt"
  done
  cat "$log" >&2
  say "could not fetch ${packages[*]}: they need Python 3.10 or newer and glibc, on x86_64, and the package index"
  return 1
}

# One at a time: tests of two terminals may meet here.
exec 9>"$tools.lock"
flock 9
[[ -f $tools/fetched && $(<"$tools/fetched") == "$wanted" ]] || fetch_python
flock -u 9

export PYTHONPATH=$PWD/$tools/packages PYTHONDONTWRITEBYTECODE=1
