{{/* One of our services: its Deployment, and what belongs to that alone. (dict "root" $ "name" "webhook" "stores" …) */}}
{{- define "realmate.service" -}}
{{- $root := .root -}}
{{- $own := index $root.Values .name -}}
{{- $broker := ternary (include "realmate.broker" $root) "" .broker -}}
{{- $brokerBefore := ternary (include "realmate.brokerBefore" $root) "" (eq .name "conversations") -}}
{{- /* Nobody routes requests to these two. */ -}}
{{- $drainDelay := ternary "0" "5" (has .name (list "conversations" "deliveries")) -}}
{{- $settings := merge (dict) $own.settings $root.Values.settings (dict "DRAIN_DELAY_S" $drainDelay "DRAIN_TIMEOUT_S" "8") -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "realmate.metadata" (list $root .name) | nindent 2 }}
spec:
  {{- $scaled := and $root.Values.keda.enabled (eq .name "conversations") }}
  {{- if and $scaled $own.autoscaling.enabled }}
  {{- fail "keda.enabled and conversations.autoscaling.enabled: choose one" }}
  {{- end }}
  replicas: {{ include "realmate.replicas" . }}
  # A new pod is ready before an old one goes.
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  selector:
    matchLabels:
      {{- include "realmate.selector" (list $root .name) | nindent 6 }}
  template:
    metadata:
      labels:
        {{- merge (include "realmate.labels" (list $root .name) | fromYaml) $own.podLabels | include "realmate.texts" | nindent 8 }}
      {{- $annotations := deepCopy $own.podAnnotations }}
      {{- $stores := concat (keys .stores) (list $broker $brokerBefore) | compact | uniq | sortAlpha }}
      {{- with include "realmate.versions" (list $root $stores) }}
      {{- $_ := set $annotations "realmate.dev/secret-versions" . }}
      {{- end }}
      {{- with $annotations }}
      annotations:
        {{- include "realmate.texts" . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "realmate.pod" (list $root .name 10001) | nindent 6 }}
      # The process drains by itself: DRAIN_DELAY_S for whoever routes to it, DRAIN_TIMEOUT_S for its work, 3 s to end.
      terminationGracePeriodSeconds: {{ add (ceil (float64 $settings.DRAIN_DELAY_S)) (ceil (float64 $settings.DRAIN_TIMEOUT_S)) 7 }}
      topologySpreadConstraints:
        {{- range $topology := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ $topology }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "realmate.selector" (list $root $.name) | nindent 14 }}
        {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ include "realmate.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [run, {{ .name }}]
          {{- include "realmate.container" (list $root .name (not $root.Values.development)) | nindent 10 }}
          ports:
            - {name: http, containerPort: 8000}
            - {name: admin, containerPort: {{ include "realmate.adminPort" . }}}
          env:
            - {name: HOST, value: "0.0.0.0"}
            - {name: PORT, value: "8000"}
            - {name: ADMIN_PORT, value: {{ include "realmate.adminPort" . | quote }}}
            - {name: LOG_FORMAT, value: json}
            {{- range $store, $variable := .stores }}
            {{- include "realmate.connection" (list $root $store (include "realmate.user" (list $store $.name)) $variable) | nindent 12 }}
            {{- end }}
            {{- if .broker }}
            {{- include "realmate.connection" (list $root $broker .name "TRANSPORT_URL") | nindent 12 }}
            - {name: TRANSPORT_KEYS_FILE, value: /etc/realmate/transport/keys}
            {{- end }}
            {{- if $brokerBefore }}
            {{- include "realmate.connection" (list $root $brokerBefore .name "DRAIN_TRANSPORT_URL") | nindent 12 }}
            {{- end }}
            {{- if and .sources (include "realmate.sources" $root) }}
            - {name: SOURCES_FILE, value: /etc/realmate/sources/{{ include "realmate.sourcesFile" $root }}}
            {{- end }}
            {{- if .webhook }}
            # Where replays go: through the front door, as any sender's events.
            - {name: WEBHOOK_URL, value: http://{{ include "realmate.fullname" $root }}-webhook:8000}
            {{- end }}
            {{- if $root.Values.readers.existingSecret }}
            - {name: TOKENS_FILE, value: /etc/realmate/readers/tokens.toml}
            {{- end }}
            {{- include "realmate.settings" $settings | nindent 12 }}
            {{- range $own.extraEnv }}
            {{- $value := dict }}
            {{- if hasKey . "value" }}
            {{- $value = dict "value" (include "realmate.text" .value) }}
            {{- end }}
            - {{ mergeOverwrite (deepCopy .) $value | toJson }}
            {{- end }}
          # On the port that no sender reaches: a pod whose connections are all taken is well, and must not be killed for it.
          # Alive: the process turns over. A store that is away is no reason to kill it. Ready: it could do its work once,
          # and does not drain. A store that goes away later makes it answer 503, which tells a sender to come again; no
          # pod at all makes some ingresses answer 404, which does not.
          startupProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 1
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 3
          readinessProbe:
            httpGet: {path: /servingz, port: admin}
            periodSeconds: 1
            timeoutSeconds: 3
            failureThreshold: 2
          resources:
            {{- toYaml $own.resources | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- if .broker }}
            - {name: transport, mountPath: /etc/realmate/transport, readOnly: true}
            {{- end }}
            {{- if and .sources (include "realmate.sources" $root) }}
            - {name: sources, mountPath: /etc/realmate/sources, readOnly: true}
            {{- end }}
            {{- if $root.Values.readers.existingSecret }}
            - {name: readers, mountPath: /etc/realmate/readers, readOnly: true}
            {{- end }}
            {{- include "realmate.extraMounts" (list $root .name) | nindent 12 }}
      volumes:
        - name: tmp
          emptyDir: {sizeLimit: 64Mi}
        {{- if .broker }}
        - name: transport
          secret:
            secretName: {{ include "realmate.transportKeys" $root }}
            items: [{key: {{ $root.Values.transport.keys.key }}, path: keys}]
        {{- end }}
        # Their content is followed by the processes themselves: a change needs no restart, and so no checksum here.
        {{- if and .sources (include "realmate.sources" $root) }}
        {{- include "realmate.sourcesVolume" $root | nindent 8 }}
        {{- end }}
        {{- with $root.Values.readers.existingSecret }}
        - name: readers
          secret: {secretName: {{ . }}}
        {{- end }}
        {{- include "realmate.extraVolumes" (list $root .name) | nindent 8 }}
{{- if dig "autoscaling" "enabled" false $own }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "realmate.metadata" (list $root .name) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "realmate.fullname" $root }}-{{ .name }}
  minReplicas: {{ include "realmate.text" $own.autoscaling.minReplicas }}
  maxReplicas: {{ include "realmate.text" $own.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ include "realmate.text" $own.autoscaling.targetCPUUtilizationPercentage }}
{{- end }}
{{- if $own.podDisruptionBudget }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "realmate.metadata" (list $root .name) | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "realmate.selector" (list $root .name) | nindent 6 }}
{{- end }}
{{- end }}

{{/* The Secret with the file of sources, where there is one. */}}
{{- define "realmate.sources" -}}
{{- if ne .Values.operator.mode "none" -}}
{{ include "realmate.fullname" . }}-webhooksources
{{- else if .Values.sources.existingSecret -}}
{{ .Values.sources.existingSecret }}
{{- else if .Values.sources.content -}}
{{ include "realmate.fullname" . }}-sources
{{- end -}}
{{- end }}

{{- define "realmate.sourcesFile" -}}
{{ ternary "sources.toml" "sources.json" (eq .Values.operator.mode "none") }}
{{- end }}

{{- define "realmate.sourcesVolume" -}}
- name: sources
  secret:
    secretName: {{ include "realmate.sources" . }}
    {{- if ne .Values.operator.mode "none" }}
    # Named, so that a pod waits for what the operator has not published yet.
    items: [{key: sources.json, path: sources.json}]
    {{- end }}
{{- end }}

{{/* A Service for the pods of one component. (list $ component port number), and what its values say of it: (… service) */}}
{{- define "realmate.port" -}}
{{- $own := ternary (last .) dict (eq (len .) 5) -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "realmate.metadata" (list (index . 0) (index . 1)) | nindent 2 }}
  {{- with $own.annotations }}
  annotations:
    {{- include "realmate.texts" . | nindent 4 }}
  {{- end }}
spec:
  {{- with $own.type }}
  type: {{ . }}
  {{- end }}
  {{- with $own.externalTrafficPolicy }}
  externalTrafficPolicy: {{ . }}
  {{- end }}
  selector:
    {{- include "realmate.selector" (list (index . 0) (index . 1)) | nindent 4 }}
  ports:
    - {name: {{ index . 2 }}, port: {{ index . 3 }}, targetPort: {{ index . 2 }}}
{{- end }}

{{/* How many pods. Where something scales them, as many as there are: without a number, Kubernetes would go back to one. */}}
{{- define "realmate.replicas" -}}
{{- $own := index .root.Values .name -}}
{{- if or (dig "autoscaling" "enabled" false $own) (and .root.Values.keda.enabled (eq .name "conversations")) -}}
{{- $name := printf "%s-%s" (include "realmate.fullname" .root) .name -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace $name -}}
{{- $least := $own.autoscaling.minReplicas -}}
{{- max (int64 $least) (dig "spec" "replicas" 0 $live | int64) -}}
{{- else -}}
{{- include "realmate.text" $own.replicas -}}
{{- end -}}
{{- end }}
