{{/*
The container of the bridge, the same wherever it runs: alone in a Deployment, as a native sidecar
beside workers, in the pod of another chart, or injected.
*/}}

{{/* Variables of the environment: where spans go, and of which pod they are. */}}
{{- define "connector-bridge.env" -}}
{{- if .Values.otel.endpoint }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.otel.endpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ .Values.otel.protocol | quote }}
- name: OTEL_TRACES_SAMPLER
  value: {{ .Values.otel.sampler | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .Values.otel.samplerArg | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ include "connector-bridge.fullname" . }}
{{- $attributes := list
      "k8s.namespace.name=$(POD_NAMESPACE)"
      "k8s.pod.name=$(POD_NAME)"
      "k8s.node.name=$(NODE_NAME)"
      "k8s.container.name=connector-bridge"
      (printf "service.version=%s" .Chart.AppVersion) }}
{{- range $name, $value := .Values.otel.resourceAttributes }}
{{- $attributes = append $attributes (printf "%s=%s" $name $value) }}
{{- end }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ join "," $attributes | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
The container. Probes wait for neither NATS nor workers: a bridge without them still answers, from
its fallback. Ports are numbers wherever they are referred to: names of a sidecar's ports do not
reach a Service.
*/}}
{{- define "connector-bridge.container" -}}
{{- $settings := include "connector-bridge.settings" . | fromJson -}}
name: connector-bridge
image: {{ include "connector-bridge.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, {{ include "connector-bridge.directory" . }}/bridge.yaml]
{{- with include "connector-bridge.env" . | trim }}
env:
  {{- . | nindent 2 }}
{{- end }}
ports:
  - {name: bridge-http, containerPort: {{ $settings.http }}, protocol: TCP}
  - {name: bridge-admin, containerPort: {{ $settings.admin }}, protocol: TCP}
startupProbe:
  httpGet: {path: /readyz, port: {{ $settings.admin }}}
  {{- toYaml .Values.probes.startup | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: {{ $settings.admin }}}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
livenessProbe:
  httpGet: {path: /livez, port: {{ $settings.admin }}}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
{{- with .Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - name: connector-bridge
    mountPath: {{ include "connector-bridge.directory" . }}
    readOnly: true
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* The same as a native sidecar: an entry of initContainers. */}}
{{- define "connector-bridge.sidecar" -}}
- restartPolicy: Always
  {{- include "connector-bridge.container" . | nindent 2 }}
{{- end }}

{{/*
What it mounts. Only keys that the configuration names; readable by any user, because the pod may be
another's and its fsGroup is not known, but mounted by nobody else. A Secret that changes is in
place without a restart.
*/}}
{{- define "connector-bridge.volumes" -}}
{{- $settings := include "connector-bridge.settings" . | fromJson -}}
- name: connector-bridge
  projected:
    defaultMode: 0444
    sources:
      - configMap:
          name: {{ include "connector-bridge.fullname" . }}
      {{- range $secret, $keys := $settings.secrets }}
      - secret:
          name: {{ quote $secret }}
          items:
            {{- range $keys }}
            - {key: {{ quote . }}, path: {{ printf "secrets/%s/%s" $secret . | quote }}}
            {{- end }}
      {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The text of bridge.yaml. */}}
{{- define "connector-bridge.configuration" -}}
{{- $settings := include "connector-bridge.settings" . | fromJson -}}
{{- toYaml $settings.config }}
{{- end }}

{{/* An annotation for pods, so that a changed configuration rolls them out. */}}
{{- define "connector-bridge.podAnnotations" -}}
checksum/connector-bridge: {{ include "connector-bridge.configuration" . | sha256sum }}
{{- end }}

{{/*
The pod's grace period in seconds: drain_delay, the longest deadline and at least 5 s. Workers of the
same pod end before a sidecar does, so their time comes on top.
*/}}
{{- define "connector-bridge.terminationGracePeriodSeconds" -}}
{{- $settings := include "connector-bridge.settings" . | fromJson }}
{{- $workers := and .Values.deployment.enabled (not .Values.workers.containers) | ternary 0 .Values.workers.shutdownSeconds }}
{{- add $settings.grace $workers }}
{{- end }}
