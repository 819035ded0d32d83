{{/* What objects are called, and the labels that they carry. */}}

{{/* The name of the chart, or nameOverride. */}}
{{- define "connector-bridge.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of most objects; short enough for the suffixes that a few of them add. */}}
{{- define "connector-bridge.fullname" -}}
{{- $name := include "connector-bridge.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* The labels of every object. */}}
{{- define "connector-bridge.labels" -}}
{{- $own := dict
      "app.kubernetes.io/name" (include "connector-bridge.name" .)
      "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/version" .Chart.AppVersion
      "app.kubernetes.io/managed-by" .Release.Service
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{/* The labels by which the pods with a bridge are found: the chart's own, or podSelector. */}}
{{- define "connector-bridge.selectorLabels" -}}
{{- $own := dict
      "app.kubernetes.io/name" (include "connector-bridge.name" .)
      "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/component" "bridge" }}
{{- .Values.podSelector | default $own | toYaml }}
{{- end }}

{{/* The labels of the pod of `helm test`. */}}
{{- define "connector-bridge.testLabels" -}}
app.kubernetes.io/name: {{ include "connector-bridge.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end }}

{{/* Metadata of an object: context, and annotations where there are any. */}}
{{- define "connector-bridge.metadata" -}}
name: {{ include "connector-bridge.fullname" .context }}{{ .suffix }}
namespace: {{ .context.Release.Namespace }}
labels:
  {{- include "connector-bridge.labels" .context | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The image: its digest, if there is one, else its tag. */}}
{{- define "connector-bridge.image" -}}
{{- $repository := .Values.image.repository }}
{{- with .Values.image.registry }}{{ $repository = printf "%s/%s" . $repository }}{{ end }}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The service account of the pods. */}}
{{- define "connector-bridge.serviceAccountName" -}}
{{- $default := .Values.serviceAccount.create | ternary (include "connector-bridge.fullname" .) "default" }}
{{- .Values.serviceAccount.name | default $default }}
{{- end }}

{{/*
The name that Prometheus gives to the job. The shipped alerts find a bridge that was never scraped
by this name.
*/}}
{{- define "connector-bridge.job" -}}
{{- $name := include "connector-bridge.fullname" . }}
{{- contains "connector-bridge" $name | ternary $name (printf "connector-bridge-%s" $name) }}
{{- end }}
