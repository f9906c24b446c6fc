import { drainTimeoutMs, lingerMs } from '../../api/contract/model-server.ts';
import type { PodTemplate } from '../../api/v1alpha1/pod-template.ts';
import { configFile } from './configmap.ts';
import { type KubernetesObject, metadataOf, type Owner } from './metadata.ts';
import { type Fields, overlaid } from './overlay.ts';

const configFolder = '/etc/levada';
export const unitFile = `${configFolder}/${configFile}`;

/** What every container of Levada's own image mounts. */
export const runtimeMounts: readonly object[] = [
  { name: 'config', mountPath: configFolder, readOnly: true },
  { name: 'tmp', mountPath: '/tmp' },
];

/** Seconds between the end of draining and SIGKILL. */
const killMargin = 5;

/** A set of pods that are all alike: what a Deployment keeps. */
export interface Workload {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What tells its pods from all others. It can never change. */
  readonly selector: Readonly<Record<string, string>>;
  readonly replicas: number;
  /** Of the pods. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Name of the ConfigMap that holds the configuration of the runtime. */
  readonly configMap: string;
  readonly runtime: RuntimeContainer;
  /** Containers that run beside the runtime, and before it. */
  readonly sidecars?: readonly object[];
  readonly volumes: readonly Volume[];
  readonly serviceAccountName?: string | undefined;
  /** Laid over its pods, one after the other. */
  readonly overlays?: readonly PodTemplate[];
}

/** The container of Levada's own image. */
interface RuntimeContainer {
  readonly name: string;
  readonly image: string;
  readonly ports: Readonly<Record<string, number>>;
  readonly resources?: object | undefined;
}

/** A volume, and where the runtime finds it; it is only read. */
export interface Volume {
  readonly name: string;
  /** Absent: another container mounts it, and the runtime does not. */
  readonly mountPath?: string;
  readonly source: object;
}

export const deploymentFor = (owner: Owner, workload: Workload): KubernetesObject => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: metadataOf(owner, workload.name, workload.labels),
  spec: {
    replicas: workload.replicas,
    revisionHistoryLimit: 2, // the way back is the resource, not `kubectl rollout undo`
    selector: { matchLabels: workload.selector },
    strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: '25%' } },
    template: (workload.overlays ?? []).reduce<Fields>(overlaid, templateOf(workload)),
  },
});

/** What its pods are made of, without overlays. */
export const templateOf = (workload: Workload): Fields => ({
  metadata: { labels: workload.labels, ...(workload.annotations && { annotations: workload.annotations }) },
  spec: podSpec(workload),
});

/** Lets a node be drained one pod at a time; a pod that is not ready anyway never holds the drain up. */
export const disruptionBudgetFor = (owner: Owner, { name, labels, selector }: Workload): KubernetesObject => ({
  apiVersion: 'policy/v1',
  kind: 'PodDisruptionBudget',
  metadata: metadataOf(owner, name, labels),
  spec: {
    maxUnavailable: 1,
    selector: { matchLabels: selector },
    unhealthyPodEvictionPolicy: 'AlwaysAllow',
  },
});

/** A pod that the `restricted` Pod Security Standard admits. */
const podSpec = (workload: Workload): object => ({
  ...(workload.serviceAccountName !== undefined && { serviceAccountName: workload.serviceAccountName }),
  automountServiceAccountToken: false, // pods never call the API server
  enableServiceLinks: false,
  terminationGracePeriodSeconds: (lingerMs + drainTimeoutMs) / 1000 + killMargin,
  securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  // Also of a single one: pods that serve are not replaced for a second one.
  topologySpreadConstraints: spread(workload),
  ...(workload.sidecars && workload.sidecars.length > 0 && { initContainers: workload.sidecars }),
  containers: [container(workload)],
  volumes: [
    { name: 'config', configMap: { name: workload.configMap } },
    { name: 'tmp', emptyDir: {} },
    ...workload.volumes.map(({ name, source }) => ({ name, ...source })),
  ],
});

const container = ({ runtime: { name, image, ports, resources }, volumes }: Workload): object => ({
  name,
  image,
  command: ['node', 'runtime/main.ts', '--config', unitFile],
  ports: Object.entries(ports).map(([name, containerPort]) => ({ name, containerPort, protocol: 'TCP' })),
  ...(resources && { resources }),
  // Large models take minutes to load; a process that is not ready by then is started again.
  startupProbe: { httpGet: probed('/livez'), periodSeconds: 1, timeoutSeconds: 2, failureThreshold: 600 },
  readinessProbe: { httpGet: probed('/readyz'), periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 2 },
  livenessProbe: { httpGet: probed('/livez'), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3 },
  securityContext: { ...confined, readOnlyRootFilesystem: true },
  volumeMounts: [
    ...runtimeMounts,
    ...volumes.flatMap(({ name, mountPath }) => (mountPath === undefined ? [] : [{ name, mountPath, readOnly: true }])),
  ],
});

/** What the `restricted` Pod Security Standard asks of every container. */
export const confined = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } as const;

const probed = (path: string): object => ({ path, port: 'admin' });

/** Over nodes, and over zones where there are several; a small cluster still takes all pods. */
const spread = ({ selector }: Workload): object[] =>
  ['kubernetes.io/hostname', 'topology.kubernetes.io/zone'].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchLabels: selector },
  }));
