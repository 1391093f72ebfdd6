{{/* Ports of a rule: (list 5672 5671) */}}
{{- define "carillon.ports" -}}
ports:
  {{- range . }}
  - {protocol: TCP, port: {{ . }}}
  {{- end }}
{{- end }}

{{/* Who may come in: (dict "root" $ "facts" FACTS). The kubelet's probes come from the node and are always let in. */}}
{{- define "carillon.ingressRules" -}}
{{- $root := .root }}
{{- $rules := list }}
{{- if .facts.ports }}
{{- $open := list }}
{{- range .facts.ports }}{{ $open = append $open (dict "protocol" "TCP" "port" (.number | int)) }}{{ end }}
{{- $rule := dict "ports" $open }}
{{- if has "public" .facts.callers }}
{{- if $root.Values.networkPolicy.callers }}{{ $_ := set $rule "from" $root.Values.networkPolicy.callers }}{{ end }}
{{- else }}
{{- $from := list }}
{{- range .facts.callers }}
{{- $labels := include "carillon.selector" (dict "root" $root "component" .) | fromYaml }}
{{- $from = append $from (dict "podSelector" (dict "matchLabels" $labels)) }}
{{- end }}
{{- $_ := set $rule "from" $from }}
{{- end }}
{{- $rules = append $rules $rule }}
{{- end }}
{{- with $root.Values.networkPolicy.metrics }}
{{- $port := dict "protocol" "TCP" "port" (include "carillon.adminPort" $root | int) }}
{{- $rules = append $rules (dict "from" . "ports" (list $port)) }}
{{- end }}
ingress: {{ if $rules }}{{ toYaml $rules | nindent 2 }}{{ else }}[]{{ end }}
{{- end }}

{{/* Where to: (dict "root" $ "reaches" LIST) */}}
{{- define "carillon.egressRules" -}}
{{- $policy := .root.Values.networkPolicy -}}
egress:
  - ports:
      - {protocol: UDP, port: 53}
      - {protocol: TCP, port: 53}
    {{- with $policy.dns }}
    to: {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- range $target := concat .reaches (list "telemetry") }}
  {{- if eq $target "status-collector" }}
  - to:
      - podSelector:
          matchLabels: {{- include "carillon.selector" (dict "root" $.root "component" $target) | nindent 12 }}
    {{- include "carillon.ports" (list 9500) | nindent 4 }}
  {{- else if eq $target "providers" }}
  - to:
      - ipBlock:
          cidr: 0.0.0.0/0
          {{- with $policy.providers.except }}
          except: {{- toYaml . | nindent 12 }}
          {{- end }}
      - ipBlock:
          cidr: ::/0
          {{- with $policy.providers.except6 }}
          except: {{- toYaml . | nindent 12 }}
          {{- end }}
    {{- include "carillon.ports" $policy.providers.ports | nindent 4 }}
  {{- else }}
  {{- $rule := index $policy $target }}
  {{- if $rule.ports }}
  - {{- include "carillon.ports" $rule.ports | nindent 4 }}
    {{- with $rule.to }}
    to: {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- end }}
  {{- end }}
  {{- with $policy.extraEgress }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
