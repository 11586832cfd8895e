{{/* Labels of everything in this chart. */}}
{{- define "towpath.labels" -}}
app.kubernetes.io/name: towpath
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of a component's pods, by which they are found; they never change, so a new chart alone restarts no pod. Give (list . "controller"). */}}
{{- define "towpath.selector" -}}
app.kubernetes.io/name: towpath
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "towpath.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What all containers have in common. */}}
{{- define "towpath.container" -}}
image: {{ include "towpath.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* What a container may do: nothing, but for the capabilities listed. Give a list of names. */}}
{{- define "towpath.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  {{- with . }}
  add: [{{ join ", " . }}]
  {{- end }}
{{- end }}

{{/* A pod that runs as nobody in particular. */}}
{{- define "towpath.unprivileged" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Where the API server is, for clusters in which its service address does not work yet. */}}
{{- define "towpath.apiserver" -}}
{{- with .Values.kubernetesServiceHost -}}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $.Values.kubernetesServicePort | quote }}
{{- end }}
{{- end }}

{{/* Annotations by which Prometheus finds a pod. Give (list $ PORT). */}}
{{- define "towpath.scraped" -}}
{{- if (index . 0).Values.metrics.enabled -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ index . 1 | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{/* Where a process serves its metrics. Give (list $ PORT). */}}
{{- define "towpath.metricsPort" -}}
{{- if (index . 0).Values.metrics.enabled -}}
- name: TOWPATH_METRICS_PORT
  value: {{ index . 1 | quote }}
{{- end }}
{{- end }}

{{- define "towpath.pullSecrets" -}}
{{- with .Values.imagePullSecrets -}}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{/* The service account's token, for the one container that mounts this volume. */}}
{{- define "towpath.tokenVolume" -}}
- name: token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "towpath.tokenMount" -}}
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}

{{/* Annotations of the user's objects. */}}
{{- define "towpath.keep" -}}
{{- if .Values.keepObjects -}}
annotations:
  helm.sh/resource-policy: keep
{{- end }}
{{- end }}

{{/* "6" for an IPv6 prefix, "4" for an IPv4 one; fails with a sentence on anything else. Give (list FIELD TEXT). */}}
{{- define "towpath.family" -}}
{{- $field := index . 0 }}{{ $text := index . 1 | toString -}}
{{- $octet := "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])" -}}
{{- if regexMatch (printf "^(%s[.]){3}%s/([0-9]|[12][0-9]|3[0-2])$" $octet $octet) $text -}}
4
{{- else if regexMatch "^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])$" $text -}}
6
{{- else -}}
{{- fail (printf "%s: %q is no CIDR such as 10.244.0.0/16 or fd00:10:244::/56" $field $text) -}}
{{- end -}}
{{- end }}

{{/* Fails where two objects of a list have one name. Give (list VALUE NAMES). */}}
{{- define "towpath.unique" -}}
{{- $seen := dict }}{{ $value := index . 0 -}}
{{- range index . 1 -}}
{{- if hasKey $seen . }}{{ fail (printf "%s: two of them have the name %q; give each a name of its own" $value .) }}{{ end -}}
{{- $_ := set $seen . true -}}
{{- end -}}
{{- end }}

{{/* Fails where a folder has "..": Kubernetes refuses such a path only when it creates the pods. Give (list VALUE PATH). */}}
{{- define "towpath.folder" -}}
{{- if has ".." (splitList "/" (index . 1)) }}{{ fail (printf "%s: %s must not contain '..'" (index . 0) (index . 1)) }}{{ end -}}
{{- end }}

{{/* Fails where blocks do not fit their pool. Give (list FIELD POOL FAMILY). */}}
{{- define "towpath.blockSize" -}}
{{- $field := index . 0 }}{{ $pool := index . 1 }}{{ $four := eq (index . 2) "4" -}}
{{- $length := splitList "/" $pool.cidr | last | int -}}
{{- $low := max $length (ternary 20 116 $four) }}{{ $high := ternary 32 128 $four -}}
{{- $size := $pool.blockSize | default (ternary 26 122 $four) | int -}}
{{- if or (lt $size $low) (gt $size $high) -}}
{{- fail (printf "%s: %d does not fit %s: %d to %d" $field $size $pool.cidr $low $high) -}}
{{- end -}}
{{- end }}

{{/* Fails where an IPv4 prefix has host bits. Give (list FIELD CIDR). */}}
{{- define "towpath.hostBits" -}}
{{- $field := index . 0 }}{{ $cidr := index . 1 -}}
{{- $parts := splitList "/" $cidr -}}
{{- $size := 1 }}{{ range until (sub 32 (last $parts | int) | int) }}{{ $size = mul $size 2 }}{{ end -}}
{{- $number := 0 }}{{ range splitList "." (first $parts) }}{{ $number = add (mul $number 256) (int .) }}{{ end -}}
{{- if mod $number $size -}}
{{- $network := sub $number (mod $number $size) -}}
{{- $octets := list (div $network 16777216) (mod (div $network 65536) 256) (mod (div $network 256) 256) (mod $network 256) -}}
{{- fail (printf "%s: %q has host bits; the range is %s/%s" $field $cidr (join "." $octets) (last $parts)) -}}
{{- end -}}
{{- end }}

{{/* The same for IPv6, group by group: each has 16 bits. What is no address at all the API server refuses. */}}
{{- define "towpath.hostBits6" -}}
{{- $field := index . 0 }}{{ $cidr := index . 1 -}}
{{- $parts := splitList "/" $cidr }}{{ $length := last $parts | int -}}
{{- $halves := splitList "::" (first $parts) -}}
{{- $groups := list }}{{ if first $halves }}{{ $groups = splitList ":" (first $halves) }}{{ end -}}
{{- $tail := list }}{{ if and (eq (len $halves) 2) (last $halves) }}{{ $tail = splitList ":" (last $halves) }}{{ end -}}
{{- if eq (len $halves) 2 -}}
{{- range until (max 0 (sub 8 (add (len $groups) (len $tail))) | int) }}{{ $groups = append $groups "0" }}{{ end -}}
{{- $groups = concat $groups $tail -}}
{{- end -}}
{{- range $index, $group := $groups -}}
{{- $size := 1 }}{{ range until (max 0 (min 16 (sub (mul 16 (add $index 1)) $length)) | int) }}{{ $size = mul $size 2 }}{{ end -}}
{{- if mod (int64 (printf "0x%s" $group)) $size -}}
{{- fail (printf "%s: %q has host bits; all after the first %d must be zero" $field $cidr $length) -}}
{{- end -}}
{{- end -}}
{{- end }}
