{{- define "login-pipeline.behavior" -}}
{{- if .Values.autoscaling.behavior -}}
{{- toYaml .Values.autoscaling.behavior -}}
{{- else -}}
scaleDown:
  stabilizationWindowSeconds: 600
  policies:
    - type: Pods
      value: 1
      periodSeconds: 180
{{- end -}}
{{- end }}

{{/* A partition that moves is seen at two pods for a while: the maximum of those, and the sum of the partitions. */}}
{{- define "login-pipeline.lagQuery" -}}
{{- printf "sum(max by (topic, partition) (login_pipeline_source_lag_records{namespace=%q, job=%q}))" .Release.Namespace (include "login-pipeline.fullname" .) -}}
{{- end }}
