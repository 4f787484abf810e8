{{/* Where URLs come from: Secrets, always. */}}

{{/* The Secret that the chart makes. A hook runs before it is there, and has one of its own. Takes root and hook. */}}
{{- define "relay.ownSecret" -}}
{{- include "relay.fullname" .root }}{{ if .hook }}-migrate{{ end }}
{{- end -}}

{{/* env of one URL. Takes root, hook, name (of the variable), server (the values), key, what (for the message). */}}
{{- define "relay.url" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      {{- if .server.existingSecret }}
      name: {{ .server.existingSecret }}
      {{- else if .root.Values.secret.create }}
      name: {{ include "relay.ownSecret" . }}
      {{- else }}
      {{- fail (printf "%s.existingSecret is not set: name a Secret that holds the URL under the key %q" .what .key) }}
      {{- end }}
      key: {{ .key }}
{{- end -}}

{{/* env of relay: everything that is not in relay.toml. Takes root, hook, migrating: as the tables' owner, and directly; and page:
whether operators have their page and commands there. */}}
{{- define "relay.env" -}}
{{- $values := .root.Values -}}
- name: RELAY_CONFIG
  value: /etc/relay/relay.toml
- name: RELAY_ADMIN_LISTEN
  value: {{ include "relay.listen" (dict "root" .root "port" "relay") | quote }}
{{- $database := pick $values.database "existingSecret" "key" "listenKey" "operatorKey" }}
{{- if and $values.secret.create (not $database.existingSecret) }}
{{- $_ := set $database "listenKey" (ternary (include "relay.listenKey" .root) "" (ne $values.secret.listenUrl "")) }}
{{- end }}
{{- if and .migrating $values.migrations.existingSecret }}
{{- $key := default $database.key $values.migrations.key }}
{{- $database = dict "existingSecret" $values.migrations.existingSecret "key" $key "listenKey" $key }}
{{- end }}
{{- $urls := list (dict "prefix" "RELAY_" "database" $database "amqp" $values.amqp) }}
{{- range $name, $secrets := $values.outboxSecrets }}
{{- $prefix := printf "RELAY_OUTBOX_%s_" (regexReplaceAll "[^A-Z0-9]" (upper $name) "_") }}
{{- $own := dict "prefix" $prefix }}
{{- with $secrets.database }}
{{- $key := default $values.database.key .key }}
{{- if and $.migrating .migrateKey }}
{{- $_ := set $own "database" (dict "existingSecret" .existingSecret "key" .migrateKey "listenKey" .migrateKey) }}
{{- else }}
{{- $_ := set $own "database" (dict "existingSecret" .existingSecret "key" $key "listenKey" .listenKey "operatorKey" .operatorKey) }}
{{- end }}
{{- end }}
{{- with $secrets.amqp }}
{{- $_ := set $own "amqp" (dict "existingSecret" .existingSecret "key" (default $values.amqp.key .key)) }}
{{- end }}
{{- $urls = append $urls $own }}
{{- end }}
{{- range $one := $urls }}
{{- range $server := list "database" "amqp" }}
{{- with get $one $server }}
{{- $url := dict "root" $.root "hook" $.hook "server" . "what" $server }}
{{- if or .existingSecret (ne $one.prefix "RELAY_") (include "relay.needed" (dict "root" $.root "server" $server)) }}
{{ include "relay.url" (merge (dict "name" (printf "%s%s_URL" $one.prefix (upper $server)) "key" .key) $url) }}
{{- with .listenKey }}
{{ include "relay.url" (merge (dict "name" (printf "%s%s_LISTEN_URL" $one.prefix (upper $server)) "key" .) $url) }}
{{- end }}
{{- if and $.page .operatorKey }}
{{ include "relay.url" (merge (dict "name" (printf "%s%s_OPERATOR_URL" $one.prefix (upper $server)) "key" .operatorKey) $url) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .page $values.page.existingSecret }}
{{- range $variable, $key := dict "READ" $values.page.readKey "OPERATOR" $values.page.operatorKey }}
{{- if $key }}
{{ include "relay.url" (dict "root" $.root "hook" $.hook "server" $values.page "what" "page" "name" (printf "RELAY_PAGE_%s_TOKEN" $variable) "key" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- include "relay.authorities" (dict "root" .root "database" "RELAY_DATABASE_CA_FILE" "amqp" "RELAY_AMQP_CA_FILE") }}
{{- end -}}

{{/* Whether a URL of this server is needed: an outbox has none of its own, as far as the chart sees. Takes root and server. */}}
{{- define "relay.needed" -}}
{{- if not .root.Values.existingConfigSecret -}}
{{- $names := list -}}
{{- range .root.Values.outbox }}
{{- $names = append $names .name }}
{{- end -}}
{{- range default (list "") $names }}
{{- if not (dig . $.server "existingSecret" "" $.root.Values.outboxSecrets) }}needed{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The direct URL's key in the Secret that the chart makes. */}}
{{- define "relay.listenKey" -}}
{{- default "listen-url" .Values.database.listenKey -}}
{{- end -}}

{{/* env of authorities. Takes root, and for each server that is talked to the name of a variable. */}}
{{- define "relay.authorities" -}}
{{- range $server := list "database" "amqp" }}
{{- $ca := (get $.root.Values $server).ca }}
{{- if and (hasKey $ $server) (or $ca.existingSecret $ca.existingConfigMap) }}
- name: {{ get $ $server }}
  value: /etc/relay-ca/{{ $server }}/{{ $ca.key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "relay.authorityMounts" -}}
{{- range $server := list "database" "amqp" }}
{{- $ca := (get $.Values $server).ca }}
{{- if or $ca.existingSecret $ca.existingConfigMap }}
- name: {{ $server }}-ca
  mountPath: /etc/relay-ca/{{ $server }}
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{- define "relay.authorityVolumes" -}}
{{- range $server := list "database" "amqp" }}
{{- $ca := (get $.Values $server).ca }}
{{- if $ca.existingSecret }}
- name: {{ $server }}-ca
  secret:
    secretName: {{ $ca.existingSecret }}
{{- else if $ca.existingConfigMap }}
- name: {{ $server }}-ca
  configMap:
    name: {{ $ca.existingConfigMap }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The volume of relay.toml. Takes root and hook. */}}
{{- define "relay.configVolume" -}}
- name: config
  {{- if .root.Values.existingConfigSecret }}
  secret:
    secretName: {{ .root.Values.existingConfigSecret }}
    items:
      - key: relay.toml
        path: relay.toml
  {{- else }}
  configMap:
    name: {{ include "relay.ownSecret" . }}
  {{- end }}
{{- end -}}
