{{/*
What the services are, as the code has it; not for operators to choose.
  needs      the secrets a service is given, and no others
  reaches    where its network policy lets it go, beside DNS and telemetry
  ports      the ports that others call, and the setting that opens each
  callers    who may call them: `public`, or the services by name
  publicUrl  whether it must know the URL under which callers reach the API
*/}}
{{- define "carillon.services" -}}
ingest-api:
  needs: [broker, database, secretsKey, operatorKey]
  reaches: [broker, database]
  ports:
    - {name: http, number: 8080, setting: CARILLON_HTTP__LISTEN}
    - {name: grpc, number: 9090, setting: CARILLON_GRPC__LISTEN}
  callers: [public]
  publicUrl: true
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
  ports:
    - {name: grpc, number: 9500, setting: CARILLON_INTERNAL__LISTEN}
  callers: [dispatcher-apns, dispatcher-fcm, dispatcher-webpush]
sms-cascade:
  needs: [database, secretsKey]
  reaches: [database, providers]
  publicUrl: true
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
