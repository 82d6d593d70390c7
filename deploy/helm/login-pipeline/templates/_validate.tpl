{{/* Values that are each allowed and contradict each other. All that is wrong is said at once. */}}

{{- define "login-pipeline.validate" -}}
{{- $wrong := list -}}
{{- $protocol := include "login-pipeline.get" (list . "kafka.security_protocol" "plaintext") -}}
{{- $hasTls := has $protocol (list "ssl" "sasl_ssl") -}}
{{- $hasSasl := has $protocol (list "sasl_plaintext" "sasl_ssl") -}}

{{- if not .Values.image.repository -}}
{{- $wrong = append $wrong "image.repository: required, such as ghcr.io/OWNER/login-pipeline with its owner" -}}
{{- end -}}
{{- if not (include "login-pipeline.get" (list . "kafka.brokers" "")) -}}
{{- $wrong = append $wrong "config.kafka.brokers: required, such as [\"kafka-bootstrap.kafka:9092\"]" -}}
{{- end -}}

{{- range $path, $from := dict "assignment.mode" "mode" "assignment.replicas" "replicaCount" "assignment.ordinal" "the pod's name" "assignment.partitions" "mode" "group.instance_id" "mode and the pod's name" "offsets.path" "the volume's mount" -}}
{{- if include "login-pipeline.get" (list $ $path "") -}}
{{- $wrong = append $wrong (printf "config.%s: leave it out, it follows from %s" $path $from) -}}
{{- end -}}
{{- end -}}
{{- range include "login-pipeline.files" . | fromJsonArray -}}
{{- if include "login-pipeline.get" (list $ .path "") -}}
{{- $wrong = append $wrong (printf "config.%s: leave it out, it follows from secrets.%s" .path .by) -}}
{{- end -}}
{{- if and (hasPrefix "kafka.tls." .path) (not $hasTls) -}}
{{- $wrong = append $wrong (printf "secrets.%s: config.kafka.security_protocol = %s has no use for it; ssl or sasl_ssl has" .by $protocol) -}}
{{- end -}}
{{- if and (hasPrefix "kafka.sasl." .path) (not $hasSasl) -}}
{{- $wrong = append $wrong (printf "secrets.%s: config.kafka.security_protocol = %s has no use for it; sasl_ssl or sasl_plaintext has" .by $protocol) -}}
{{- end -}}
{{- if and (has .by (list "saslClientSecret" "tokenEndpointCa")) (not (include "login-pipeline.get" (list $ "kafka.sasl.token_endpoint_url" ""))) -}}
{{- $wrong = append $wrong (printf "secrets.%s: is for config.kafka.sasl.token_endpoint_url, which is not set" .by) -}}
{{- end -}}
{{- end -}}
{{- range $by, $ca := dict "tlsCa" .Values.secrets.tlsCa "tokenEndpointCa" .Values.secrets.tokenEndpointCa -}}
{{- if and $ca.secretName $ca.configMapName -}}
{{- $wrong = append $wrong (printf "secrets.%s: secretName or configMapName, not both" $by) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "LOGIN_PIPELINE_" .name -}}
{{- $wrong = append $wrong (printf "extraEnv: %s is set in config or secrets, where the chart knows of it" .name) -}}
{{- end -}}
{{- end -}}

{{- $store := include "login-pipeline.store" . -}}
{{- if and (ne .Values.mode "ordinal") (ne $store "group") -}}
{{- $wrong = append $wrong (printf "config.offsets.store: a consumer group keeps the offsets where mode is %s; leave it out" .Values.mode) -}}
{{- end -}}
{{- if and (eq (include "login-pipeline.get" (list . "delivery.guarantee" "")) "exactly_once") (ne $store "group") -}}
{{- $wrong = append $wrong (printf "config.delivery.guarantee: exactly_once keeps offsets and outputs in one transaction, which takes config.offsets.store = group instead of %s" $store) -}}
{{- end -}}

{{- with .Values.autoscaling -}}
{{- if and .hpa.enabled .keda.enabled -}}
{{- $wrong = append $wrong "autoscaling: hpa or keda, not both: KEDA makes a HorizontalPodAutoscaler of its own" -}}
{{- end -}}
{{- if and (or .hpa.enabled .keda.enabled) (eq $.Values.mode "ordinal") -}}
{{- $wrong = append $wrong "autoscaling: not in ordinal mode, where the number of pods says who reads what; mode = group is the one to autoscale" -}}
{{- end -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- $wrong = append $wrong "autoscaling: minReplicas is above maxReplicas" -}}
{{- end -}}
{{- if and .hpa.enabled (not .hpa.targetCPUUtilizationPercentage) (not .hpa.lag.enabled) -}}
{{- $wrong = append $wrong "autoscaling.hpa: neither by CPU nor by lag" -}}
{{- end -}}
{{- if and .hpa.enabled .hpa.targetCPUUtilizationPercentage (not (dig "requests" "cpu" "" $.Values.resources)) -}}
{{- $wrong = append $wrong "autoscaling.hpa.targetCPUUtilizationPercentage: is of resources.requests.cpu, which is not set" -}}
{{- end -}}
{{- if .keda.enabled -}}
{{- if and (eq .keda.trigger "kafka") (or $hasTls $hasSasl) (not .keda.authenticationRef) -}}
{{- $wrong = append $wrong (printf "autoscaling.keda.authenticationRef: KEDA has to log in to %s brokers itself; name a TriggerAuthentication, or use the prometheus trigger" $protocol) -}}
{{- end -}}
{{- if and (eq .keda.trigger "prometheus") (not .keda.prometheus.serverAddress) -}}
{{- $wrong = append $wrong "autoscaling.keda.prometheus.serverAddress: required for the prometheus trigger" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.prometheusRule.enabled (not (contains "login-pipeline" (include "login-pipeline.fullname" .))) -}}
{{- $wrong = append $wrong (printf "prometheusRule: the rules find a pipeline by login-pipeline in its name, and this one is %s" (include "login-pipeline.fullname" .)) -}}
{{- end -}}
{{- if and (or .Values.secrets.adminToken.secretName (include "login-pipeline.get" (list . "admin.token_file" ""))) (not (include "login-pipeline.adminTls" .)) (ne (include "login-pipeline.get" (list . "admin.allow_plaintext" "false")) "true") -}}
{{- $wrong = append $wrong "secrets.adminToken: would cross the network readable; set secrets.adminTls, or config.admin.allow_plaintext where something else encrypts, such as a service mesh" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (include "login-pipeline.adminTls" .) -}}
{{- with .Values.serviceMonitor.tlsConfig -}}
{{- if and (include "login-pipeline.adminMutualTls" $) (not (or .cert .certFile)) -}}
{{- $wrong = append $wrong "serviceMonitor.tlsConfig: clients of the admin port need a certificate; set cert and keySecret, or certFile and keyFile" -}}
{{- end -}}
{{- else -}}
{{- $wrong = append $wrong "serviceMonitor.tlsConfig: required where the admin port speaks TLS; set ca, and serverName to a name of the certificate, since Prometheus asks pods by their addresses" -}}
{{- end -}}
{{- end -}}
{{- if hasPrefix "127." (include "login-pipeline.listen" .) -}}
{{- $wrong = append $wrong "config.admin.listen: probes can't reach a loopback address; 0.0.0.0 or [::], and networkPolicy says who may ask" -}}
{{- end -}}
{{- if eq (include "login-pipeline.port" .) "0" -}}
{{- $wrong = append $wrong "config.admin.listen: probes need a port that is known" -}}
{{- end -}}
{{- if $wrong -}}
{{- printf "these values can't work:\n  - %s" (join "\n  - " $wrong) | fail -}}
{{- end -}}
{{- end }}
