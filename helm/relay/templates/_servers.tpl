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

{{/* env of relay: everything that is not in relay.toml. Takes root, hook, and perhaps owner, the values that say where the URL
of the tables' owner is: a direct one. */}}
{{- define "relay.env" -}}
{{- $values := .root.Values -}}
- name: RELAY_CONFIG
  value: /etc/relay/relay.toml
- name: RELAY_ADMIN_LISTEN
  value: {{ include "relay.listen" (dict "root" .root "port" "relay") | quote }}
{{- $server := default $values.database .owner }}
{{- $own := and $values.secret.create (not $server.existingSecret) }}
{{- $direct := ternary (and $values.secret.listenUrl (include "relay.listenKey" .root)) $values.database.listenKey (not (not $own)) }}
{{- with .owner }}
{{- $direct = .key }}
{{- end }}
{{- range $name, $key := dict "RELAY_DATABASE_URL" $server.key "RELAY_DATABASE_LISTEN_URL" $direct }}
{{- with $key }}
{{ include "relay.url" (dict "root" $.root "hook" $.hook "name" $name "server" $server "key" . "what" "database") }}
{{- end }}
{{- end }}
{{ include "relay.url" (dict "root" .root "hook" .hook "name" "RELAY_AMQP_URL" "server" $values.amqp "key" $values.amqp.key "what" "amqp") }}
{{- include "relay.authorities" (dict "root" .root "database" "RELAY_DATABASE_CA_FILE" "amqp" "RELAY_AMQP_CA_FILE") }}
{{- end -}}

{{/* The direct URL's key in the Secret that the chart makes. */}}
{{- define "relay.listenKey" -}}
{{- default "listen-url" .Values.database.listenKey -}}
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
