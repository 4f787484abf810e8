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

{{/* env of relay: everything that is not in relay.toml. Takes root, hook, database (the values that say where its URL is). */}}
{{- define "relay.env" -}}
{{- $values := .root.Values -}}
- name: RELAY_CONFIG
  value: /etc/relay/relay.toml
- name: RELAY_ADMIN_LISTEN
  value: {{ include "relay.listen" (dict "root" .root "port" "relay") | quote }}
{{ include "relay.url" (merge (dict "name" "RELAY_DATABASE_URL" "server" .database "key" .database.key "what" "database") .) }}
{{- with $values.database.listenKey }}
{{ include "relay.url" (merge (dict "name" "RELAY_DATABASE_LISTEN_URL" "server" $values.database "key" . "what" "database") $) }}
{{- else }}
{{- if and $values.secret.create $values.secret.listenUrl (not $values.database.existingSecret) }}
{{ include "relay.url" (merge (dict "name" "RELAY_DATABASE_LISTEN_URL" "server" $values.database "key" "listen-url" "what" "database") $) }}
{{- end }}
{{- end }}
{{ include "relay.url" (merge (dict "name" "RELAY_AMQP_URL" "server" $values.amqp "key" $values.amqp.key "what" "amqp") .) }}
{{- include "relay.authorities" (dict "root" .root "database" "RELAY_DATABASE_CA_FILE" "amqp" "RELAY_AMQP_CA_FILE") }}
{{- end -}}

{{/* env of authorities. Takes root, and the name of a variable for each server. */}}
{{- define "relay.authorities" -}}
{{- range $server := list "database" "amqp" }}
{{- $ca := (get $.root.Values $server).ca }}
{{- if or $ca.existingSecret $ca.existingConfigMap }}
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
