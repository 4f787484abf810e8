{{/* What workers and API have in common. Takes root, hook, part (whose database; or none). */}}
{{- define "shipping.env" -}}
{{- $root := .root -}}
{{- include "shipping.databaseUrl" (dict "root" $root "hook" .hook "name" "DATABASE_URL" "of" (default dict (get $root.Values.shipping.databases (default "" .part)))) }}
{{- include "relay.authorities" (dict "root" $root "database" "SHIPMENTS_DATABASE_CA_FILE") }}
{{- end -}}

{{/* Takes root, hook, name, of: what prevails over shipping.database, which prevails over database. */}}
{{- define "shipping.databaseUrl" -}}
{{- $values := .root.Values -}}
{{- $server := dict
  "existingSecret" (coalesce .of.existingSecret $values.shipping.database.existingSecret $values.database.existingSecret)
  "key" (coalesce .of.key $values.shipping.database.key $values.database.key)
-}}
{{- include "relay.url" (dict "root" .root "hook" .hook "name" .name "server" $server "key" $server.key "what" "database") }}
{{- end -}}

{{/* Variables from settings, with those that follow from config unless they say otherwise. Takes root and settings. */}}
{{- define "shipping.settings" -}}
{{- $follow := dict
  "SHIPMENTS_RELAY_SCHEMA" (include "relay.key" (dict "root" .root "section" "database" "key" "schema" "default" "relay"))
  "SHIPMENTS_EXCHANGE" (include "relay.key" (dict "root" .root "section" "outbox" "key" "exchange" "default" "outbox.events"))
  "SHIPMENTS_DEAD_LETTER_EXCHANGE" (include "relay.key" (dict "root" .root "section" "dead_letter" "key" "exchange" "default" "outbox.dlx"))
-}}
{{- range $name, $value := merge (dict) (default dict .settings) .root.Values.shipping.settings $follow }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* A variable's value. Takes root, settings, name, default. */}}
{{- define "shipping.setting" -}}
{{- get (merge (dict) (default dict .settings) .root.Values.shipping.settings (dict .name .default)) .name -}}
{{- end -}}

{{/* The parts that a worker runs, as a list. */}}
{{- define "shipping.parts" -}}
{{- toJson (dict "parts" (default (list "address" "label" "tracking" "invoice" "fulfilment" "notify") .parts)) -}}
{{- end -}}

{{/* The queues of a part, after the prefix. */}}
{{- define "shipping.queues" -}}
{{- $more := dict "tracking" (list "carrier_events") "fulfilment" (list "order_views") -}}
{{- toJson (dict "queues" (concat (list .) (default list (get $more .)))) -}}
{{- end -}}

{{/* A URL for workers' AMQP, as name and key of a Secret. */}}
{{- define "shipping.amqp" -}}
{{- toJson (dict
  "existingSecret" (coalesce .Values.shipping.amqp.existingSecret .Values.amqp.existingSecret)
  "key" (coalesce .Values.shipping.amqp.key .Values.amqp.key)
) -}}
{{- end -}}
