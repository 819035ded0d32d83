{{/* What the ways in have in common: which port, which path, and where the API exists. */}}

{{/* The port of the Service. */}}
{{- define "connector-bridge.servicePort" -}}
{{- $settings := include "connector-bridge.settings" . | fromJson }}
{{- .Values.service.port | default ($settings.config.tls | empty | ternary 80 443) }}
{{- end }}

{{/* Whether the cluster knows an API. Helm's own list has no policy; its version has to do for that. */}}
{{- define "connector-bridge.knows" -}}
{{- $policy := eq .api "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" }}
{{- $new := semverCompare ">=1.36.0-0" .context.Capabilities.KubeVersion.Version }}
{{- if or (.context.Capabilities.APIVersions.Has .api) (and $policy $new) }}true{{ end }}
{{- end }}

{{/*
"true" where an object of an API that not every cluster has is to be rendered, by renderMode.
Arguments: context, api (group/version/Kind) and key, what asks for it.
*/}}
{{- define "connector-bridge.renders" -}}
{{- $mode := .context.Values.renderMode }}
{{- if or (eq $mode "alwaysRender") (include "connector-bridge.knows" .) -}}
true
{{- else if eq $mode "failIfMissing" }}
{{- fail (printf "%s: the cluster does not know %s. Install what brings it, or write renderMode: alwaysRender" .key .api) }}
{{- end }}
{{- end }}

{{/*
As JSON, under `urls`: where callers reach the connectors from outside, without the path; `tls`:
whether all of these are https.
*/}}
{{- define "connector-bridge.urls" -}}
{{- $urls := list }}
{{- if .Values.ingress.enabled }}
  {{- $secure := list }}
  {{- range .Values.ingress.tls }}{{ $secure = concat $secure (.hosts | default list) }}{{ end }}
  {{- range .Values.ingress.hosts }}
    {{- $urls = append $urls (printf "%s://%s" (has . $secure | ternary "https" "http") .) }}
  {{- end }}
{{- end }}
{{- if .Values.httpRoute.enabled }}
  {{- range .Values.httpRoute.hostnames }}{{ $urls = append $urls (printf "https://%s" .) }}{{ end }}
{{- end }}
{{- if .Values.tlsRoute.enabled }}
  {{- range .Values.tlsRoute.hostnames }}{{ $urls = append $urls (printf "https://%s" .) }}{{ end }}
{{- end }}
{{- $plain := false }}
{{- range $urls }}{{ if hasPrefix "http:" . }}{{ $plain = true }}{{ end }}{{ end }}
{{- dict "urls" ($urls | uniq) "plain" $plain | toJson }}
{{- end }}
