{{/* Durations and sizes as the program reads them, in seconds and bytes. */}}

{{/*
login-pipeline.seconds (dict "key" "shutdown.timeout" "value" "1m 30s"): whole seconds, rounded up. What is no
duration, or has a unit longer than a day, fails; the program would refuse the first and has no use for the other.
*/}}
{{- define "login-pipeline.seconds" -}}
{{- $part := "[0-9]+(\\.[0-9]+)?\\s*[a-zµ]+" -}}
{{- if not (regexMatch (printf "^\\s*(%s\\s*)+$" $part) .value) -}}
{{- fail (printf "config.%s: %q is not a duration such as 500ms, 30s or 1m 30s" .key .value) -}}
{{- end -}}
{{- $units := dict "ns" 1e-9 "us" 1e-6 "ms" 1e-3 "s" 1 "m" 60 "h" 3600 "d" 86400 -}}
{{- $names := dict "nanos" "ns" "nsec" "ns" "usec" "us" "µs" "us" "millis" "ms" "msec" "ms" -}}
{{- range list "seconds" "second" "secs" "sec" -}}{{- $_ := set $names . "s" -}}{{- end -}}
{{- range list "minutes" "minute" "mins" "min" -}}{{- $_ := set $names . "m" -}}{{- end -}}
{{- range list "hours" "hour" "hrs" "hr" -}}{{- $_ := set $names . "h" -}}{{- end -}}
{{- range list "days" "day" -}}{{- $_ := set $names . "d" -}}{{- end -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll $part .value -1 -}}
{{- $name := regexFind "[a-zµ]+" . -}}
{{- $unit := get $names $name | default $name -}}
{{- if not (hasKey $units $unit) -}}
{{- fail (printf "config.%s: %q has the unit %q, which the chart can't follow: use ms, s, m or h" $.key $.value $name) -}}
{{- end -}}
{{- $seconds = addf $seconds (mulf (regexFind "[0-9]+(\\.[0-9]+)?" . | float64) (get $units $unit)) -}}
{{- end -}}
{{- ceil $seconds | int64 -}}
{{- end }}

{{/* login-pipeline.bytes (dict "key" ... "value" ...): 4MiB, 512 kB, 1048576, and Kubernetes' 128Mi. */}}
{{- define "login-pipeline.bytes" -}}
{{- if not (kindIs "string" .value) -}}
{{- int64 .value -}}
{{- else -}}
{{- $number := regexFind "^\\s*[0-9]+" .value | trim -}}
{{- $unit := regexReplaceAll "^\\s*[0-9]+\\s*" .value "" | trim | lower | trimSuffix "b" -}}
{{- $units := dict "" 1 "k" 1000 "m" 1000000 "g" 1000000000 "ki" 1024 "mi" 1048576 "gi" 1073741824 -}}
{{- if or (not $number) (not (hasKey $units $unit)) -}}
{{- fail (printf "%s: %q is not a size in bytes such as 4MiB, 512KiB or 1048576" .key .value) -}}
{{- end -}}
{{- mul (int64 $number) (get $units $unit) -}}
{{- end -}}
{{- end }}
