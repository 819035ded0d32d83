{{/*
The configuration of the program, made of `config` and `connectors`: what is written stays as it is,
except that secret://NAME/KEY becomes the file at which the key of that Secret is mounted.
*/}}

{{/* Where the chart mounts files. /etc/connector-bridge is free for mounts of your own. */}}
{{- define "connector-bridge.directory" -}}
/run/connector-bridge
{{- end }}

{{/*
The file that a reference stands for; notes in .secrets which keys of which Secrets are needed.
Anything but a reference is returned as it is.
*/}}
{{- define "connector-bridge.file" -}}
{{- if hasPrefix "secret:" .file }}
  {{- $parts := splitList "/" .file }}
  {{- if ne (len $parts) 4 }}
    {{- fail (printf "%s: %s is not secret://NAME/KEY" .key .file) }}
  {{- end }}
  {{- $secret := index $parts 2 }}
  {{- $_ := set .secrets $secret (append (get .secrets $secret | default list) (index $parts 3) | uniq | sortAlpha) }}
  {{- printf "%s/secrets/%s/%s" (include "connector-bridge.directory" .) $secret (index $parts 3) }}
{{- else }}
  {{- .file }}
{{- end }}
{{- end }}

{{/* Replaces the references in .node, in place, at any depth: in the keys *_file and *_files. */}}
{{- define "connector-bridge.mount" -}}
{{- $secrets := .secrets }}
{{- $node := .node }}
{{- if kindIs "map" $node }}
  {{- range $key, $value := $node }}
    {{- if and (hasSuffix "_file" $key) (kindIs "string" $value) }}
      {{- $_ := set $node $key (include "connector-bridge.file" (dict "key" $key "file" $value "secrets" $secrets)) }}
    {{- else if and (hasSuffix "_files" $key) (kindIs "slice" $value) }}
      {{- $files := list }}
      {{- range $value }}
        {{- $files = append $files (include "connector-bridge.file" (dict "key" $key "file" . "secrets" $secrets)) }}
      {{- end }}
      {{- $_ := set $node $key $files }}
    {{- else }}
      {{- include "connector-bridge.mount" (dict "node" $value "secrets" $secrets) }}
    {{- end }}
  {{- end }}
{{- else if kindIs "slice" $node }}
  {{- range $node }}
    {{- include "connector-bridge.mount" (dict "node" . "secrets" $secrets) }}
  {{- end }}
{{- end }}
{{- end }}

{{/* A duration of the program, as 3.5s, in milliseconds. */}}
{{- define "connector-bridge.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 }}
{{- $number := regexFind "^[0-9]+(\\.[0-9]+)?" . | float64 }}
{{- round (mulf $number (get $units (regexFind "[a-z]+$" .))) 0 | int64 }}
{{- end }}

{{/* The port of an address, as 0.0.0.0:8080. */}}
{{- define "connector-bridge.port" -}}
{{- regexFind "[0-9]+$" . }}
{{- end }}

{{/* Whether calls may reach more than one replica: "true" or nothing. */}}
{{- define "connector-bridge.several" -}}
{{- $replicas := .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.replicas }}
{{- if gt (int $replicas) 1 }}true{{ end }}
{{- end }}

{{/* The Secret that cert-manager writes the certificate to. */}}
{{- define "connector-bridge.certificateSecret" -}}
{{- .Values.certificate.secretName | default (printf "%s-tls" (include "connector-bridge.fullname" .)) }}
{{- end }}

{{/*
As JSON: `config`, the configuration of the program; `secrets`, the keys that are needed of each
Secret; `http` and `admin`, the ports; `deadline`, the longest one in milliseconds; `grace`, the
pod's grace period in seconds without what workers need.
*/}}
{{- define "connector-bridge.settings" -}}
{{- if not .Values.connectors }}
  {{- fail "connectors: at least one connector is needed: write it as connectors.NAME" }}
{{- end }}
{{- $config := deepCopy .Values.config }}
{{- $_ := set $config "connectors" (deepCopy .Values.connectors) }}
{{- $_ := set $config "calls" (merge (get $config "calls" | default dict)
      (include "connector-bridge.several" . | empty | ternary dict (dict "store" "jetstream"))) }}
{{- if .Values.certificate.enabled }}
  {{- $secret := include "connector-bridge.certificateSecret" . }}
  {{- $_ := set $config "tls" (merge (get $config "tls" | default dict)
        (dict "cert_file" (printf "secret://%s/tls.crt" $secret) "key_file" (printf "secret://%s/tls.key" $secret))) }}
{{- end }}

{{- $limits := dict
      "entra" (dict "default" 15000 "most" 19000)
      "b2c" (dict "default" 3500 "most" 4000)
      "b2c-policy" (dict "default" 7500 "most" 9000) }}
{{- $longest := 0 }}
{{- range $name, $connector := .Values.connectors }}
  {{- $limit := get $limits $connector.protocol }}
  {{- $deadline := get $limit "default" }}
  {{- with $connector.deadline }}
    {{- $deadline = include "connector-bridge.milliseconds" . | int64 }}
    {{- if or (lt $deadline 50) (gt $deadline (get $limit "most" | int64)) }}
      {{- fail (printf "connectors.%s.deadline: %s is not between 50ms and %dms, the most that %s allows"
            $name . (get $limit "most") $connector.protocol) }}
    {{- end }}
  {{- end }}
  {{- $longest = max $longest $deadline }}
{{- end }}

{{- $drain := include "connector-bridge.milliseconds" (get $config "drain_delay" | default "5s") | int64 }}
{{- $needed := add $drain $longest 1000 }}
{{- $shutdown := max 25000 $needed }}
{{- with get $config "shutdown_grace" }}
  {{- $shutdown = include "connector-bridge.milliseconds" . | int64 }}
  {{- if lt $shutdown $needed }}
    {{- fail (printf "config.shutdown_grace: %s is less than drain_delay, the longest deadline and 1s together (%dms): calls in flight would get their fallback at every roll-out. Leave it out, and it is computed" . $needed) }}
  {{- end }}
{{- end }}
{{- $_ := set $config "shutdown_grace" (get $config "shutdown_grace" | default (mod $shutdown 1000 | eq 0 | ternary (printf "%ds" (div $shutdown 1000)) (printf "%dms" $shutdown))) }}

{{- $secrets := dict }}
{{- include "connector-bridge.mount" (dict "node" $config "secrets" $secrets) }}
{{- dict "config" $config "secrets" $secrets "deadline" $longest
      "grace" (add (divf $shutdown 1000 | ceil) 5)
      "http" (include "connector-bridge.port" (get $config "listen" | default ":8080") | int)
      "admin" (include "connector-bridge.port" (get $config "admin_listen" | default ":9090") | int)
    | toJson }}
{{- end }}

{{/* Refuses what could never work and neither the schema nor the settings above refuse. */}}
{{- define "connector-bridge.checks" -}}
{{- $settings := include "connector-bridge.settings" . | fromJson }}
{{- $config := $settings.config }}
{{- if regexMatch "^(127\\.|\\[::1\\])" (get $config "admin_listen" | default "") }}
  {{- fail (printf "config.admin_listen: %s is not reachable by the probes of Kubernetes" $config.admin_listen) }}
{{- end }}
{{- if regexMatch "^(127\\.|\\[::1\\])" (get $config "listen" | default "") }}
  {{- fail (printf "config.listen: %s is not reachable by callers" $config.listen) }}
{{- end }}
{{- if eq $settings.http $settings.admin }}
  {{- fail "config.admin_listen: needs a port other than that of config.listen" }}
{{- end }}
{{- $tls := get $config "tls" | default dict }}
{{- range $name, $connector := .Values.connectors }}
  {{- if and (kindIs "map" $connector.auth) (not (or (get $tls "client_ca_file") (get $config "trusted_proxies"))) }}
    {{- if $connector.auth.client_certificates }}
      {{- fail (printf "connectors.%s.auth.client_certificates: no certificate can come in: write config.tls.client_ca_file or config.trusted_proxies" $name) }}
    {{- end }}
  {{- end }}
{{- end }}
{{- if and .Values.tlsRoute.enabled (not $tls) }}
  {{- fail "tlsRoute.enabled: passes TLS on to the bridge, so config.tls or certificate.enabled is needed" }}
{{- end }}
{{- if and .Values.httpRoute.backendTLS.enabled (not $tls) }}
  {{- fail "httpRoute.backendTLS.enabled: speaks TLS to the bridge, so config.tls or certificate.enabled is needed" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
  {{- fail "autoscaling.minReplicas: is more than autoscaling.maxReplicas" }}
{{- end }}
{{- if and .Values.workers.containers (not .Values.deployment.enabled) }}
  {{- fail "workers.containers: needs deployment.enabled" }}
{{- end }}
{{- if and (not .Values.deployment.enabled) (not .Values.podSelector) }}
  {{- fail "podSelector: without deployment.enabled, write here the labels of the pods that contain the bridge" }}
{{- end }}
{{- end }}
