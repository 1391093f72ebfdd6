{{/*
The settings of one service that are no secrets, as a map: (dict "root" $ "name" NAME "facts" FACTS "own" VALUES).
What the operator says wins over what the chart derives, except for addresses that Services and policies rely on.
*/}}
{{- define "carillon.settings" -}}
{{- $settings := dict "CARILLON_RUNTIME__GRACE" (printf "%vs" .root.Values.shutdown.graceSeconds) }}
{{- if .facts.ports }}
{{- $_ := set $settings "CARILLON_RUNTIME__ENDPOINT_WAIT" (printf "%vs" .root.Values.shutdown.endpointWaitSeconds) }}
{{- end }}
{{- if has "status-collector" .facts.reaches }}
{{- $_ := set $settings "CARILLON_LEDGER__URL" (printf "http://%s-status-collector:9500" (include "carillon.fullname" .root)) }}
{{- end }}
{{- if and .facts.publicUrl .root.Values.ingress.enabled }}
{{- $scheme := ternary "https" "http" (ne .root.Values.ingress.tlsSecret "") }}
{{- $_ := set $settings "CARILLON_HTTP__PUBLIC_URL" (printf "%s://%s" $scheme .root.Values.ingress.host) }}
{{- end }}
{{- if and .root.Values.extraCa.configMap (has "providers" .facts.reaches) }}
{{- $files := list }}
{{- range .root.Values.extraCa.keys }}{{ $files = append $files (printf "/etc/carillon/ca/%s" .) }}{{ end }}
{{- $_ := set $settings "CARILLON_TLS__EXTRA_CA" (join "," $files) }}
{{- end }}
{{- $settings = mergeOverwrite $settings (deepCopy .root.Values.settings) (deepCopy .own.settings) }}
{{- $_ := set $settings "CARILLON_ADMIN__LISTEN" (printf "0.0.0.0:%s" (include "carillon.adminPort" .root)) }}
{{- range .facts.ports }}
{{- $_ := set $settings .setting (printf "0.0.0.0:%v" .number) }}
{{- end }}
{{- range $key, $value := $settings }}
{{ $key }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
