{{/* relay.toml, and what follows from it. */}}

{{/* Sections are tables; JSON's strings, numbers and lists are TOML's as well. toToml would write 4096.0. */}}
{{- define "relay.toml" -}}
{{- range $section := keys .Values.config | sortAlpha }}
{{- with get $.Values.config $section }}
[{{ $section }}]
{{- include "relay.table" . }}
{{ end }}
{{- end }}
{{- range $outbox := .Values.outbox }}
[[outbox]]
{{- include "relay.table" $outbox }}
{{ range $section := keys $outbox | sortAlpha }}
{{- if kindIs "map" (get $outbox $section) }}
[outbox.{{ $section }}]
{{- include "relay.table" (get $outbox $section) }}
{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A key set to null is left out: so a values file takes away what another one has. */}}
{{- define "relay.table" -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := get $ $key }}
{{- if not (or (kindIs "invalid" $value) (kindIs "map" $value)) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Seconds of a duration such as "1m 30s", rounded up. */}}
{{- define "relay.seconds" -}}
{{- $units := dict "h" 3600000 "hr" 3600000 "hrs" 3600000 "hour" 3600000 "hours" 3600000 "m" 60000 "min" 60000 "mins" 60000
  "minute" 60000 "minutes" 60000 "s" 1000 "sec" 1000 "secs" 1000 "second" 1000 "seconds" 1000 "ms" 1 "msec" 1 "millis" 1 -}}
{{- $total := 0 -}}
{{- if not (regexMatch "^ *([0-9]+ *[a-z]+ *)+$" .) }}{{ fail (printf "%q is no time: write 20s, or 1m 30s" .) }}{{ end -}}
{{- range regexFindAll "[0-9]+ *[a-z]+" . -1 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if not (hasKey $units $unit) }}{{ fail (printf "%q is no unit of time: write 20s, or 1m 30s" $unit) }}{{ end -}}
{{- $total = add $total (mul (regexFind "^[0-9]+" . | int64) (get $units $unit)) -}}
{{- end -}}
{{- div (add $total 999) 1000 -}}
{{- end -}}

{{/* Of a process with this grace: from SIGTERM to SIGKILL. */}}
{{- define "relay.termination" -}}
{{- add (include "relay.seconds" .grace) .root.Values.terminationGraceMargin -}}
{{- end -}}

{{/* A key of relay.toml, or its default. Takes root, section, key, default. */}}
{{- define "relay.key" -}}
{{- dig .section .key .default .root.Values.config -}}
{{- end -}}

{{- define "relay.relayTermination" -}}
{{- $grace := include "relay.key" (dict "root" . "section" "shutdown" "key" "grace" "default" "20s") -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- if .Values.existingConfigSecret -}}
{{- fail "existingConfigSecret hides shutdown.grace: set terminationGracePeriodSeconds above it" -}}
{{- end -}}
{{- include "relay.termination" (dict "root" . "grace" $grace) -}}
{{- else -}}
{{- if and (not .Values.existingConfigSecret) (le (int64 .Values.terminationGracePeriodSeconds) (include "relay.seconds" $grace | int64)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %v, which cuts a drain short: shutdown.grace is %s" .Values.terminationGracePeriodSeconds $grace) -}}
{{- end -}}
{{- .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}
