{{/*
Any value as an expression in CEL. Kubernetes asks that the members of a list or map have one type,
hence dyn() around each.
*/}}
{{- define "connector-bridge.cel" -}}
{{- $value := .value }}
{{- $items := list }}
{{- if kindIs "map" $value }}
  {{- range $key := keys $value | sortAlpha }}
    {{- $items = append $items (printf "%s: %s" (toJson $key) (include "connector-bridge.cel" (dict "value" (get $value $key)))) }}
  {{- end }}
  {{- printf "dyn({%s})" (join ", " $items) }}
{{- else if kindIs "slice" $value }}
  {{- range $value }}
    {{- $items = append $items (include "connector-bridge.cel" (dict "value" .)) }}
  {{- end }}
  {{- printf "dyn([%s])" (join ", " $items) }}
{{- else }}
  {{- printf "dyn(%s)" (toJson $value) }}
{{- end }}
{{- end }}
