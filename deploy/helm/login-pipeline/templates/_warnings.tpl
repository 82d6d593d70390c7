{{/* What is allowed and seldom meant, a line each. NOTES.txt shows them. */}}
{{- define "login-pipeline.warnings" -}}
{{- $warnings := list -}}
{{- $protocol := include "login-pipeline.get" (list . "kafka.security_protocol" "plaintext") -}}
{{- if not (has $protocol (list "ssl" "sasl_ssl")) -}}
{{- $warnings = append $warnings (printf "config.kafka.security_protocol is %s: user ids and addresses cross the network in the clear." $protocol) -}}
{{- end -}}
{{- if eq (include "login-pipeline.hasVolume" .) "true" -}}
{{- $warnings = append $warnings "ordinal mode with offsets in files: a change of replicaCount moves partitions to pods that have no offset of them, which begin again from source.start. Where the number may change, keep offsets with the brokers: config.offsets.store = group or topic." -}}
{{- else if eq .Values.mode "ordinal" -}}
{{- $warnings = append $warnings "ordinal mode: to change replicaCount, scale to 0 first. While old and new pods run side by side, two of them read the same partition." -}}
{{- end -}}
{{- if eq .Values.mode "static-membership" -}}
{{- $session := include "login-pipeline.seconds" (dict "key" "group.session_timeout" "value" (include "login-pipeline.get" (list . "group.session_timeout" "45s"))) | int -}}
{{- if le $session (include "login-pipeline.grace" . | int) -}}
{{- $warnings = append $warnings (printf "group.session_timeout (%ds) is not above what a stop may take (%ss): a pod that drains that long loses its partitions before it is back, and static membership gains nothing." $session (include "login-pipeline.grace" .)) -}}
{{- end -}}
{{- if include "login-pipeline.autoscaled" . -}}
{{- $warnings = append $warnings "static membership and autoscaling: the partitions of a pod that is scaled away wait for group.session_timeout." -}}
{{- end -}}
{{- end -}}
{{- if and (eq (include "login-pipeline.get" (list . "topics.create" "never")) "missing") (eq (include "login-pipeline.get" (list . "topics.replication" "-1")) "1") -}}
{{- $warnings = append $warnings "config.topics.create makes topics with one replica: set config.topics.replication." -}}
{{- end -}}
{{- $limited := or (include "login-pipeline.get" (list . "dead_letter.max_ratio" "")) (include "login-pipeline.get" (list . "dead_letter.max_consecutive" "")) -}}
{{- if and $limited (eq (include "login-pipeline.get" (list . "dead_letter.on_limit" "pause")) "stop") -}}
{{- $warnings = append $warnings "config.dead_letter.on_limit is stop: Kubernetes starts the pod again, which stops again." -}}
{{- else if and $limited (not .Values.secrets.adminToken.secretName) (not (include "login-pipeline.get" (list . "admin.token_file" ""))) -}}
{{- $warnings = append $warnings "config.dead_letter may pause a partition, and without secrets.adminToken nobody can resume it." -}}
{{- end -}}
{{- $inFlight := include "login-pipeline.bytes" (dict "key" "config.pipeline.max_in_flight_bytes" "value" (dig "pipeline" "max_in_flight_bytes" "4MiB" .Values.config)) | int64 -}}
{{- with dig "limits" "memory" "" .Values.resources -}}
{{- $need := add 67108864 (mul 4 $inFlight) -}}
{{- if lt (include "login-pipeline.bytes" (dict "key" "resources.limits.memory" "value" .) | int64) $need -}}
{{- $warnings = append $warnings (printf "resources.limits.memory is %s: for this config.pipeline.max_in_flight_bytes count %dMi." (toString .) (div $need 1048576)) -}}
{{- end -}}
{{- end -}}
{{- $seen := add 10 (mul .Values.probes.readiness.periodSeconds .Values.probes.readiness.failureThreshold) -}}
{{- if le (int .Values.minReadySeconds) (int $seen) -}}
{{- $warnings = append $warnings (printf "minReadySeconds is %d: a pod that can't reach the brokers passes for ready for %d s, so that a rollout would go on." (int .Values.minReadySeconds) $seen) -}}
{{- end -}}
{{- if not .Values.networkPolicy.enabled -}}
{{- $warnings = append $warnings "networkPolicy is off: whoever reaches the admin port sees /status, the configuration in it." -}}
{{- end -}}
{{- toJson $warnings -}}
{{- end }}
