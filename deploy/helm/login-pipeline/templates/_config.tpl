{{/* The program's configuration: what values say, what follows from them, and both as TOML. */}}

{{- define "login-pipeline.configDir" -}}/etc/login-pipeline/config{{- end }}
{{- define "login-pipeline.secretsDir" -}}/etc/login-pipeline/secrets{{- end }}
{{- define "login-pipeline.offsetsDir" -}}/offsets{{- end }}

{{/* login-pipeline.get (list . "kafka.tls.ca_file" DEFAULT): a key of values.config. */}}
{{- define "login-pipeline.get" -}}
{{- $found := (index . 0).Values.config -}}
{{- range splitList "." (index . 1) -}}
{{- $found = ternary (get (default dict $found) .) nil (kindIs "map" $found) -}}
{{- end -}}
{{- if or (kindIs "invalid" $found) (eq (toString $found) "") -}}{{ index . 2 }}{{- else -}}{{ $found }}{{- end -}}
{{- end }}

{{/* Where progress is kept: the program's own default where nobody says. */}}
{{- define "login-pipeline.store" -}}
{{- include "login-pipeline.get" (list . "offsets.store" (ternary "file" "group" (eq .Values.mode "ordinal"))) -}}
{{- end }}

{{/* Whether each pod has a volume for its offsets. */}}
{{- define "login-pipeline.hasVolume" -}}
{{- if and (eq .Values.mode "ordinal") (eq (include "login-pipeline.store" .) "file") }}true{{ end -}}
{{- end }}

{{- define "login-pipeline.listen" -}}
{{- include "login-pipeline.get" (list . "admin.listen" "0.0.0.0:9464") -}}
{{- end }}

{{- define "login-pipeline.port" -}}
{{- include "login-pipeline.listen" . | splitList ":" | last -}}
{{- end }}

{{/* Whether the admin port speaks TLS, and whether its clients need a certificate then. */}}
{{- define "login-pipeline.adminTls" -}}
{{- if or .Values.secrets.adminTls.secretName (include "login-pipeline.get" (list . "admin.tls.cert_file" "")) }}true{{ end -}}
{{- end }}

{{- define "login-pipeline.adminMutualTls" -}}
{{- if or (and .Values.secrets.adminTls.secretName .Values.secrets.adminTls.clientCaKey) (include "login-pipeline.get" (list . "admin.tls.client_ca_file" "")) }}true{{ end -}}
{{- end }}

{{/*
What a stop may take: draining, then leaving the group, its end and closing the store, 2 s each at most, and a margin.
A process that is killed while it drains repeats what it had not stored.
*/}}
{{- define "login-pipeline.grace" -}}
{{- $timeout := include "login-pipeline.get" (list . "shutdown.timeout" "30s") -}}
{{- add (include "login-pipeline.seconds" (dict "key" "shutdown.timeout" "value" $timeout)) 15 -}}
{{- end }}

{{/* Secrets that are mounted, as JSON: a list of secret or configMap, key, file and the path of the configuration. */}}
{{- define "login-pipeline.files" -}}
{{- $files := list -}}
{{- with .Values.secrets -}}
{{- if .tlsCa.secretName -}}
{{- $files = append $files (dict "secret" .tlsCa.secretName "key" .tlsCa.key "file" "ca.crt" "path" "kafka.tls.ca_file" "by" "tlsCa") -}}
{{- else if .tlsCa.configMapName -}}
{{- $files = append $files (dict "configMap" .tlsCa.configMapName "key" .tlsCa.key "file" "ca.crt" "path" "kafka.tls.ca_file" "by" "tlsCa") -}}
{{- end -}}
{{- if .tlsClient.secretName -}}
{{- $files = append $files (dict "secret" .tlsClient.secretName "key" .tlsClient.certKey "file" "tls.crt" "path" "kafka.tls.cert_file" "by" "tlsClient") -}}
{{- $files = append $files (dict "secret" .tlsClient.secretName "key" .tlsClient.privateKeyKey "file" "tls.key" "path" "kafka.tls.key_file" "by" "tlsClient") -}}
{{- end -}}
{{- if .saslPassword.secretName -}}
{{- $files = append $files (dict "secret" .saslPassword.secretName "key" .saslPassword.key "file" "sasl-password" "path" "kafka.sasl.password_file" "by" "saslPassword") -}}
{{- end -}}
{{- if .saslToken.secretName -}}
{{- $files = append $files (dict "secret" .saslToken.secretName "key" .saslToken.key "file" "sasl-token" "path" "kafka.sasl.token_file" "by" "saslToken") -}}
{{- end -}}
{{- if .saslClientSecret.secretName -}}
{{- $files = append $files (dict "secret" .saslClientSecret.secretName "key" .saslClientSecret.key "file" "sasl-client-secret" "path" "kafka.sasl.client_secret_file" "by" "saslClientSecret") -}}
{{- end -}}
{{- if .tokenEndpointCa.secretName -}}
{{- $files = append $files (dict "secret" .tokenEndpointCa.secretName "key" .tokenEndpointCa.key "file" "token-endpoint-ca.crt" "path" "kafka.sasl.token_endpoint_ca_file" "by" "tokenEndpointCa") -}}
{{- else if .tokenEndpointCa.configMapName -}}
{{- $files = append $files (dict "configMap" .tokenEndpointCa.configMapName "key" .tokenEndpointCa.key "file" "token-endpoint-ca.crt" "path" "kafka.sasl.token_endpoint_ca_file" "by" "tokenEndpointCa") -}}
{{- end -}}
{{- if .adminToken.secretName -}}
{{- $files = append $files (dict "secret" .adminToken.secretName "key" .adminToken.key "file" "admin-token" "path" "admin.token_file" "by" "adminToken") -}}
{{- end -}}
{{- if .adminTls.secretName -}}
{{- $files = append $files (dict "secret" .adminTls.secretName "key" .adminTls.certKey "file" "admin-tls.crt" "path" "admin.tls.cert_file" "by" "adminTls") -}}
{{- $files = append $files (dict "secret" .adminTls.secretName "key" .adminTls.privateKeyKey "file" "admin-tls.key" "path" "admin.tls.key_file" "by" "adminTls") -}}
{{- if .adminTls.clientCaKey -}}
{{- $files = append $files (dict "secret" .adminTls.secretName "key" .adminTls.clientCaKey "file" "admin-client-ca.crt" "path" "admin.tls.client_ca_file" "by" "adminTls") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $files -}}
{{- end }}

{{/* values.config with what follows from other values, as JSON. */}}
{{- define "login-pipeline.config" -}}
{{- $derived := dict "admin" (dict "listen" (include "login-pipeline.listen" .)) -}}
{{- $assignment := dict "mode" (ternary "ordinal" "group" (eq .Values.mode "ordinal")) -}}
{{- if eq .Values.mode "ordinal" -}}
{{- $_ := set $assignment "replicas" .Values.replicaCount -}}
{{- end -}}
{{- $_ := set $derived "assignment" $assignment -}}
{{- if include "login-pipeline.hasVolume" . -}}
{{- $_ := set $derived "offsets" (dict "path" (include "login-pipeline.offsetsDir" .)) -}}
{{- end -}}
{{- range include "login-pipeline.files" . | fromJsonArray -}}
{{- $value := printf "%s/%s" (include "login-pipeline.secretsDir" $) .file -}}
{{- range splitList "." .path | reverse -}}
{{- $value = dict . $value -}}
{{- end -}}
{{- $derived = mustMerge $derived $value -}}
{{- end -}}
{{- toJson (mustMergeOverwrite (deepCopy .Values.config) $derived) -}}
{{- end }}

{{/* One value in TOML: JSON's texts, numbers, booleans and lists are TOML's, but for 1.048576e+06. */}}
{{- define "login-pipeline.toml.value" -}}
{{- if kindIs "float64" . -}}
{{- ternary (int64 . | toString) (toString .) (eq (floor .) .) -}}
{{- else if kindIs "slice" . -}}
[
{{- range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "login-pipeline.toml.value" $item }}{{ end -}}
]
{{- else if kindIs "map" . -}}
{ {{ $first := true }}{{ range $name, $item := . }}{{ if not $first }}, {{ end }}{{ $name }} = {{ include "login-pipeline.toml.value" $item }}{{ $first = false }}{{ end }} }
{{- else -}}
{{- mustToRawJson . -}}
{{- end -}}
{{- end }}

{{/* login-pipeline.toml.section (dict "name" "kafka" "table" ...): its keys, then the sections within. */}}
{{- define "login-pipeline.toml.section" }}
{{- $table := .table }}
{{- $name := .name }}
{{- $keys := list }}
{{- $sections := list }}
{{- range $key, $value := $table }}
{{- if kindIs "map" $value }}{{ $sections = append $sections $key }}
{{- else if not (kindIs "invalid" $value) }}{{ $keys = append $keys $key }}{{ end }}
{{- end }}
{{- if $keys }}
[{{ $name }}]
{{- range $keys }}
{{ . }} = {{ include "login-pipeline.toml.value" (get $table .) }}
{{- end }}
{{ end }}
{{- range $sections }}
{{- include "login-pipeline.toml.section" (dict "name" (printf "%s.%s" $name .) "table" (get $table .)) }}
{{- end }}
{{- end }}

{{/* The file that the program reads. */}}
{{- define "login-pipeline.toml" -}}
# Made by the chart {{ .Chart.Name }} from values.config and what follows from other values.
{{ $config := include "login-pipeline.config" . | fromJson }}
{{- range $name, $table := omit $config "route" }}
{{- include "login-pipeline.toml.section" (dict "name" $name "table" $table) }}
{{- end }}
{{- range $config.route }}
[[route]]
{{- range $key, $value := . }}
{{ $key }} = {{ include "login-pipeline.toml.value" $value }}
{{- end }}
{{ end }}
{{- end }}

{{/* The port of config.kafka.sasl.token_endpoint_url; nothing where there is none. */}}
{{- define "login-pipeline.tokenEndpointPort" -}}
{{- $url := include "login-pipeline.get" (list . "kafka.sasl.token_endpoint_url" "") -}}
{{- if $url -}}
{{- $authority := regexReplaceAll "^[^:]+://([^/?]*).*$" $url "${1}" -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $authority) | default (ternary "443" "80" (hasPrefix "https:" (lower $url))) -}}
{{- end -}}
{{- end }}

{{/* config.kafka.brokers as a JSON list, whichever way it was written. */}}
{{- define "login-pipeline.brokers" -}}
{{- $brokers := dig "kafka" "brokers" list .Values.config -}}
{{- if kindIs "string" $brokers -}}{{- $brokers = regexSplit "\\s*,\\s*" (trim $brokers) -1 -}}{{- end -}}
{{- toJson $brokers -}}
{{- end }}
