{{/* A pod, whatever runs in it. Takes root, component, command, env, and perhaps args, ports, probePort, resources, mounts,
volumes, termination, annotations, serviceAccount, restartPolicy. */}}
{{- define "relay.pod" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "relay.podLabels" (pick . "root" "component") | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (dict) (default dict .annotations) $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  serviceAccountName: {{ default (include "relay.serviceAccount" .root) .serviceAccount }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .termination }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and $values.topologySpread.enabled .probePort }}
  topologySpreadConstraints:
    - topologyKey: {{ $values.topologySpread.topologyKey }}
      maxSkew: {{ $values.topologySpread.maxSkew }}
      whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "relay.selector" (pick . "root" "component") | nindent 10 }}
  {{- end }}
  containers:
    - name: {{ first .command }}
      image: {{ include "relay.image" .root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command: {{ toJson .command }}
      {{- with .args }}
      args: {{ toJson . }}
      {{- end }}
      securityContext:
        {{- toYaml $values.securityContext | nindent 8 }}
      env:
        {{- .env | nindent 8 }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .ports }}
      ports:
        {{- range $name, $port := . }}
        - name: {{ $name }}
          containerPort: {{ $port }}
          protocol: TCP
        {{- end }}
      {{- end }}
      {{- if .probePort }}
      {{- range $probe, $path := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
      {{ $probe }}Probe:
        httpGet:
          path: {{ $path }}
          port: {{ $.probePort }}
        {{- toYaml (get $values.probes $probe) | nindent 8 }}
      {{- end }}
      {{- end }}
      resources:
        {{- toYaml (default $values.resources .resources) | nindent 8 }}
      {{- $mounts := printf "%s\n%s" (default "" .mounts) (include "relay.authorityMounts" .root) | trim }}
      {{- if or $mounts $values.extraVolumeMounts }}
      volumeMounts:
        {{- with $mounts }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
  {{- $volumes := printf "%s\n%s" (default "" .volumes) (include "relay.authorityVolumes" .root) | trim }}
  {{- if or $volumes $values.extraVolumes }}
  volumes:
    {{- with $volumes }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end -}}

{{/* relay itself, whatever command: with its settings. Takes what relay.env and relay.pod take. */}}
{{- define "relay.relayPod" -}}
{{- $mounts := "- name: config\n  mountPath: /etc/relay\n  readOnly: true" -}}
{{- include "relay.pod" (merge (dict
  "command" (list "relay")
  "env" (include "relay.env" (pick . "root" "hook" "migrating" "page"))
  "mounts" $mounts
  "volumes" (include "relay.configVolume" (pick . "root" "hook"))
) .) -}}
{{- end -}}

{{/* A container's settings change: so do its pods. */}}
{{- define "relay.checksums" -}}
{{- if not .Values.existingConfigSecret }}
checksum/config: {{ include "relay.toml" . | sha256sum }}
{{- end }}
{{- if .Values.secret.create }}
checksum/secret: {{ toJson .Values.secret | sha256sum }}
{{- end }}
{{- end -}}
