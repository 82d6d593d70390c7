{{/* What things are called, and the labels by which they find each other. */}}

{{- define "login-pipeline.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* 50 characters: a StatefulSet's revision and the pod's number come behind it, in a label of 63. */}}
{{- define "login-pipeline.fullname" -}}
{{- $name := include "login-pipeline.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "login-pipeline.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "login-pipeline.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* What never changes: selectors are made of these. */}}
{{- define "login-pipeline.releaseLabels" -}}
app.kubernetes.io/name: {{ include "login-pipeline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The pods that work, without the one of `helm test`. */}}
{{- define "login-pipeline.selectorLabels" -}}
{{ include "login-pipeline.releaseLabels" . }}
app.kubernetes.io/component: pipeline
{{- end }}

{{- define "login-pipeline.labels" -}}
{{ include "login-pipeline.releaseLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "login-pipeline.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{- define "login-pipeline.kind" -}}
{{- ternary "Deployment" "StatefulSet" (eq .Values.mode "group") -}}
{{- end }}

{{- define "login-pipeline.autoscaled" -}}
{{- if or .Values.autoscaling.hpa.enabled .Values.autoscaling.keda.enabled }}true{{ end -}}
{{- end }}
