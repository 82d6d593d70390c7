{{/* What the pods that work and the pod of `helm test` have in common. */}}

{{- define "login-pipeline.pod.common" -}}
serviceAccountName: {{ include "login-pipeline.serviceAccountName" . }}
automountServiceAccountToken: false
# A variable for each Service of the namespace is of no use here.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "login-pipeline.fullname" . }}
  {{- with include "login-pipeline.files" . | fromJsonArray }}
  # Whole folders, not subPath: a file of those never changes.
  - name: secrets
    projected:
      defaultMode: 0440
      sources:
        {{- range . }}
        - {{ ternary "secret" "configMap" (hasKey . "secret") }}:
            name: {{ .secret | default .configMap }}
            items:
              - key: {{ .key }}
                path: {{ .file }}
        {{- end }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "login-pipeline.container.common" -}}
image: {{ include "login-pipeline.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end }}

{{/* The environment goes before the file, and the image sets the first of these: so they say what the file says. */}}
{{- define "login-pipeline.env.common" -}}
- name: LOGIN_PIPELINE__ADMIN__LISTEN
  value: {{ include "login-pipeline.listen" . | quote }}
- name: LOGIN_PIPELINE__OFFSETS__PATH
  value: {{ include "login-pipeline.offsetsDir" . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "login-pipeline.mounts.common" -}}
- name: config
  mountPath: {{ include "login-pipeline.configDir" . }}
  readOnly: true
{{- if include "login-pipeline.files" . | fromJsonArray }}
- name: secrets
  mountPath: {{ include "login-pipeline.secretsDir" . }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
