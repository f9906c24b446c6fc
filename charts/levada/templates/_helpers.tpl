{{- define "levada.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "levada.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "levada.selector" -}}
app.kubernetes.io/name: levada
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "levada.labels" -}}
{{ include "levada.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "levada.rabbitmq" -}}
{{- printf "%s-rabbitmq" (include "levada.name" .) -}}
{{- end -}}

{{- define "levada.rabbitmq.secret" -}}
{{- .Values.rabbitmq.auth.existingSecret | default (include "levada.rabbitmq" .) -}}
{{- end -}}

{{- define "levada.rabbitmq.selector" -}}
app.kubernetes.io/name: rabbitmq
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: broker
{{- end -}}

{{- define "levada.rabbitmq.labels" -}}
{{ include "levada.rabbitmq.selector" . }}
app.kubernetes.io/part-of: levada
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* The password that was said, else the one that is there, else a new one. */ -}}
{{- define "levada.rabbitmq.password" -}}
{{- $auth := .Values.rabbitmq.auth -}}
{{- $found := lookup "v1" "Secret" .Release.Namespace (include "levada.rabbitmq" .) -}}
{{- if $auth.password -}}
{{- $auth.password -}}
{{- else if $found -}}
{{- index $found.data "password" | b64dec -}}
{{- else if lookup "v1" "Namespace" "" "default" -}}
{{- randAlphaNum 32 -}}
{{- else -}}
{{- fail "rabbitmq.auth: found neither password nor existingSecret; allowed: one of the two where there is no cluster to ask (helm template, Argo CD, --dry-run=client): a password made here would be another one with each rendering" -}}
{{- end -}}
{{- end -}}

{{- define "levada.brokerSecret" -}}
{{- if .Values.brokerSecret -}}
{{- .Values.brokerSecret -}}
{{- else if .Values.rabbitmq.enabled -}}
{{- include "levada.rabbitmq.secret" . -}}
{{- end -}}
{{- end -}}

{{- define "levada.rules" -}}
{{- .Files.Get "files/rules.yaml" -}}
{{- if include "levada.brokerSecret" . -}}
{{- .Files.Get "files/rules-broker.yaml" -}}
{{- end -}}
{{- end -}}
