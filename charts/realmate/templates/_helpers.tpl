{{- define "realmate.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The two that name a component's pods for ever: a Deployment's selector cannot be changed. (list $ component) */}}
{{- define "realmate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* (list $ component) */}}
{{- define "realmate.labels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: realmate
{{ include "realmate.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: realmate
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{/* metadata of one object. (list $ component) or (list $ component suffix) */}}
{{- define "realmate.metadata" -}}
{{- $root := index . 0 -}}
{{- $suffix := ternary (last .) (index . 1) (eq (len .) 3) -}}
name: {{ printf "%s-%s" (include "realmate.fullname" $root) $suffix | trimSuffix "-" | quote }}
namespace: {{ $root.Release.Namespace | quote }}
labels:
  {{- include "realmate.labels" (list $root (index . 1)) | nindent 2 }}
{{- end }}

{{/* A number, a switch or a text as it was written. Helm keeps numbers as floats: it would print 1048576 as 1.048576e+06. */}}
{{- define "realmate.text" -}}
{{ kindIs "string" . | ternary . (toJson .) }}
{{- end }}

{{/* A map whose values Kubernetes wants to be texts (labels, annotations), whatever they are in the values. */}}
{{- define "realmate.texts" -}}
{{- $texts := dict -}}
{{- range $name, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $texts $name (include "realmate.text" $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $texts -}}
{{- end }}

{{/* Variables of a service: a map of settings. One that is null is not given. */}}
{{- define "realmate.settings" -}}
{{- range $name, $value := . }}
{{- if not (kindIs "invalid" $value) }}
- {name: {{ $name }}, value: {{ include "realmate.text" $value | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{/* An image, from the registry of the values where one is named. (list $ image) */}}
{{- define "realmate.from" -}}
{{- with (index . 0).Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}{{ index . 1 -}}
{{- end }}

{{- define "realmate.image" -}}
{{- with .Values.image -}}
{{- $image := printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{ include "realmate.from" (list $ $image) }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end }}

{{/*
What every pod has, hooks and tests included: Pod Security "restricted", and nothing of the API server.
(list $ component uid) or (list $ component uid serviceAccount): then with a token for the API server
*/}}
{{- define "realmate.pod" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values (index . 1) -}}
{{- $uid := index . 2 -}}
{{- $known := eq (len .) 4 -}}
serviceAccountName: {{ if $known }}{{ index . 3 }}{{ else }}{{ include "realmate.serviceAccount" (list $root (index . 1)) }}{{ end }}
automountServiceAccountToken: {{ $known }}
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- $restricted := dict
  "runAsNonRoot" true "runAsUser" $uid "runAsGroup" $uid "fsGroup" $uid "seccompProfile" (dict "type" "RuntimeDefault")
}}
securityContext:
  {{- include "realmate.overridden" (list $restricted $root.Values.podSecurityContext $own.podSecurityContext) | nindent 2 }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- include "realmate.texts" . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container has. (list $ component readOnly): whether its root file system is read-only */}}
{{- define "realmate.container" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values (index . 1) -}}
{{- $restricted := dict
  "allowPrivilegeEscalation" false "readOnlyRootFilesystem" (index . 2) "capabilities" (dict "drop" (list "ALL"))
}}
securityContext:
  {{- include "realmate.overridden" (list $restricted $root.Values.securityContext $own.securityContext) | nindent 2 }}
{{- end }}

{{/* Maps, later ones over earlier ones; what is null in the end is left out. */}}
{{- define "realmate.overridden" -}}
{{- $whole := dict -}}
{{- range . -}}
{{- range $name, $value := . -}}
{{- $_ := set $whole $name $value -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $whole -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $whole $name -}}
{{- end -}}
{{- end -}}
{{- toYaml $whole -}}
{{- end }}

{{/* As whom a component's pods run. (list $ component) */}}
{{- define "realmate.serviceAccount" -}}
{{- $own := (index (index . 0).Values (index . 1)).serviceAccount -}}
{{- if $own.create -}}
{{- default (printf "%s-%s" (include "realmate.fullname" (index . 0)) (index . 1)) $own.name -}}
{{- else -}}
{{- default "default" $own.name -}}
{{- end -}}
{{- end }}

{{/* The Secret with a store's URL, and with the password where the store is ours. (list $ store) */}}
{{- define "realmate.secret" -}}
{{- $store := index (index . 0).Values (index . 1) -}}
{{- if dig "cloudnativepg" "enabled" false $store -}}
{{- /* CloudNativePG makes it, for its database's owner. */ -}}
{{ include "realmate.fullname" (index . 0) }}-postgres-app
{{- else -}}
{{- $ours := default (printf "%s-%s" (include "realmate.fullname" (index . 0)) (index . 1)) $store.existingSecret -}}
{{- default $ours $store.external.existingSecret -}}
{{- end -}}
{{- end }}

{{/*
Whether each service has a user of its own in a store: where the store's Secret is ours, or yours and says under which keys.
(list $ store)
*/}}
{{- define "realmate.separate" -}}
{{- $store := index (index . 0).Values (index . 1) -}}
{{- if not (dig "cloudnativepg" "enabled" false $store) -}}
{{- $keys := pick $store.external "writerKey" "readerKey" "webhookKey" "conversationsKey" | values | compact -}}
{{- if or $keys (include "realmate.ours" .) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether the store's Secret is made by this chart. (list $ store) */}}
{{- define "realmate.ours" -}}
{{- $store := index (index . 0).Values (index . 1) -}}
{{- if not (or $store.external.existingSecret $store.existingSecret (dig "cloudnativepg" "enabled" false $store)) -}}true{{- end -}}
{{- end }}

{{/* Under which key a store's Secret has the URL of this user. (list $ store user) */}}
{{- define "realmate.key" -}}
{{- $store := index (index . 0).Values (index . 1) -}}
{{- $user := index . 2 -}}
{{- if dig "cloudnativepg" "enabled" false $store -}}
uri
{{- else if eq $user "owner" -}}
{{ $store.external.key }}
{{- else if include "realmate.ours" . -}}
{{ upper $user }}_URL
{{- else -}}
{{ default $store.external.key (index $store.external (printf "%sKey" $user)) }}
{{- end -}}
{{- end }}

{{/* A variable with a store's URL, for this user. (list $ store user variable) */}}
{{- define "realmate.connection" -}}
- name: {{ index . 3 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "realmate.secret" . }}
      key: {{ include "realmate.key" . }}
{{- end }}

{{/* As whom a service logs in to a store. (list store service) */}}
{{- define "realmate.user" -}}
{{- if eq (index . 0) "postgres" -}}
{{ ternary "reader" "writer" (eq (index . 1) "query") }}
{{- else -}}
{{ index . 1 }}
{{- end -}}
{{- end }}

{{- define "realmate.broker" -}}
{{ ternary "rabbitmq" "redis" (eq .Values.transport.kind "amqp") }}
{{- end }}

{{/* What carried commands before, while that changes. */}}
{{- define "realmate.brokerBefore" -}}
{{- with .Values.transport.drain -}}
{{- if eq . $.Values.transport.kind -}}
{{- fail "transport.drain is what carried commands before: another one than transport.kind" -}}
{{- end -}}
{{ ternary "rabbitmq" "redis" (eq . "amqp") }}
{{- end -}}
{{- end }}

{{/* Whether this release runs the store itself. (list $ store) */}}
{{- define "realmate.runs" -}}
{{- $root := index . 0 -}}
{{- $store := index $root.Values (index . 1) -}}
{{- $used := has (index . 1) (list "postgres" "redis" (include "realmate.broker" $root) (include "realmate.brokerBefore" $root)) -}}
{{- $elsewhere := or $store.external.existingSecret (dig "cloudnativepg" "enabled" false $store) -}}
{{- if and $used (not $elsewhere) -}}true{{- end -}}
{{- end }}

{{/* From which Secret conversations has its database now, and whether that is our own; nothing at a first installation. */}}
{{- define "realmate.databaseBefore" -}}
{{- $name := printf "%s-conversations" (include "realmate.fullname" .) -}}
{{- $ours := lookup "apps/v1" "StatefulSet" .Release.Namespace (printf "%s-postgres" (include "realmate.fullname" .)) -}}
{{- $own := ternary "" "true" (empty $ours) -}}
{{- range dig "spec" "template" "spec" "containers" list (lookup "apps/v1" "Deployment" .Release.Namespace $name) -}}
{{- range .env -}}
{{- if eq .name "DATABASE_URL" -}}
{{- dict "own" $own "secret" .valueFrom.secretKeyRef.name | toJson -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A password in a Secret of ours: that which it has, or else a new one. (list $ name key) */}}
{{- define "realmate.password" -}}
{{- $secret := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) | default dict -}}
{{- with index ($secret.data | default dict) (index . 2) -}}
{{- . | b64dec -}}
{{- else -}}
{{- randAlphaNum 40 -}}
{{- end -}}
{{- end }}

{{/*
What keeps the values of statements, and with them what people write to each other, out of Postgres' log.
A test compares it with services/realmate/runtime/postgres.py.
*/}}
{{- define "realmate.quietPostgres" -}}
log_min_error_statement: "panic"
log_error_verbosity: "terse"
log_statement: "none"
log_min_duration_statement: "-1"
log_min_duration_sample: "-1"
log_transaction_sample_rate: "0"
log_parameter_max_length: "0"
log_parameter_max_length_on_error: "0"
auto_explain.log_min_duration: "-1"
{{- end }}

{{/* The Secret with the keys that sign what goes from webhook to conversations. */}}
{{- define "realmate.transportKeys" -}}
{{ default (printf "%s-transport-keys" (include "realmate.fullname" .)) .Values.transport.keys.existingSecret }}
{{- end }}

{{/* Redis' users, as docs/privileges.md has them, with their passwords in $(NAME_PASSWORD). One rule an argument. */}}
{{- define "realmate.redisUsers" -}}
- webhook on >$(WEBHOOK_PASSWORD) resetchannels &realmate:replies:* -@all +ping +time +subscribe +unsubscribe +publish +script|load (%W~realmate:commands +xadd) (%RW~realmate:limit:* +get +set +eval +evalsha)
- conversations on >$(CONVERSATIONS_PASSWORD) resetchannels &realmate:replies:* -@all +ping +time +publish (%RW~realmate:commands +xreadgroup +xautoclaim +xclaim +xack +xdel +xpending +xrange +xgroup|create +xgroup|delconsumer +xinfo|consumers) (%RW~realmate:commands %RW~realmate:set-aside +eval +evalsha) (%W~realmate:set-aside +xadd +expire)
- scaler on >$(SCALER_PASSWORD) resetchannels -@all +ping (%R~realmate:commands +xlen +xpending +xinfo|groups)
{{- end }}

{{/* Which service the way in leads a path to, and all paths below it; but `/` means itself alone. */}}
{{- define "realmate.paths" -}}
{{- $paths := dict "/webhook" "webhook" "/conversations" "query" "/changes" "query" "/openapi.json" "query" -}}
{{- range ternary (list "/" "/console" "/docs" "/admin") list .Values.console.enabled -}}
{{- $_ := set $paths . "console" -}}
{{- end -}}
{{- toJson $paths -}}
{{- end }}

{{/* For what runs once: a new pod's address takes a moment to reach everybody's NetworkPolicies. */}}
{{- define "realmate.wait" -}}
- {name: REALMATE_WAIT_S, value: "30"}
{{- end }}

{{/* More of a component's pod: what its values mount, and what they mount it from. (list $ component) */}}
{{- define "realmate.extraMounts" -}}
{{- with (index (index . 0).Values (index . 1)).extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "realmate.extraVolumes" -}}
{{- with (index (index . 0).Values (index . 1)).extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
What changes with the external Secrets that these pods have their URLs from: they do not follow those. Nothing where Helm
does not reach the cluster. Not a checksum: it would tell whoever may read pods, but no Secrets, when a guess is right.
(list $ stores)
*/}}
{{- define "realmate.versions" -}}
{{- $root := index . 0 -}}
{{- $versions := list -}}
{{- range $store := index . 1 -}}
{{- $values := index $root.Values $store -}}
{{- with default $values.existingSecret $values.external.existingSecret -}}
{{- with lookup "v1" "Secret" $root.Release.Namespace . -}}
{{- $versions = append $versions (printf "%s-%s" $store .metadata.resourceVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "," $versions -}}
{{- end }}

{{/* The port of /metrics and of health, and of a command's report (kube_operator/kinds.py has it, too) */}}
{{- define "realmate.adminPort" -}}9000{{- end }}
