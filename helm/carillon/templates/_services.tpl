{{/*
What the services are, as the code has it; not for operators to choose.
  needs      the secrets a service is given, and no others
  reaches    where its network policy lets it go, beside DNS and telemetry
  port       the port that others call, if there is one
  callers    who may call it: `public`, or the services by name
*/}}
{{- define "carillon.services" -}}
ingest-api:
  needs: [broker, database, secretsKey, operatorKey]
  reaches: [broker, database]
  port: {name: http, number: 8080, setting: CARILLON_HTTP__LISTEN}
  callers: [public]
segmenter:
  needs: [broker, database]
  reaches: [broker, database]
dispatcher-apns:
  needs: [broker, secretsKey, internalToken]
  reaches: [broker, status-collector, providers]
dispatcher-fcm:
  needs: [broker, secretsKey, internalToken]
  reaches: [broker, status-collector, providers]
dispatcher-webpush:
  needs: [broker, secretsKey, internalToken]
  reaches: [broker, status-collector, providers]
status-collector:
  needs: [broker, database, internalToken]
  reaches: [broker, database]
  port: {name: grpc, number: 9500, setting: CARILLON_INTERNAL__LISTEN}
  callers: [dispatcher-apns, dispatcher-fcm, dispatcher-webpush]
sms-cascade:
  needs: [broker, database, secretsKey]
  reaches: [broker, database, providers]
{{- end }}

{{/* The variable that each secret becomes. */}}
{{- define "carillon.secretVariables" -}}
broker: CARILLON_AMQP__URL
database: CARILLON_DATABASE__URL
secretsKey: CARILLON_SECRETS__KEY
operatorKey: CARILLON_OPERATOR__KEY
internalToken: CARILLON_INTERNAL__TOKEN
{{- end }}

{{/* The port of /livez, /readyz and /metrics, in every pod; no Service leads to it. */}}
{{- define "carillon.adminPort" -}}9600{{- end }}
