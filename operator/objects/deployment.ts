import { drainTimeoutMs } from '../../api/contract/model-server.ts';
import { claimMount } from '../../api/contract/model-uri.ts';
import { containerPorts } from '../../api/contract/names.ts';
import type { Problem } from '../../api/errors.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { ModelVersionUnit } from '../plan/units.ts';
import { configFile } from './configmap.ts';
import { selectorOf, unitLabels } from './labels.ts';
import { type KubernetesObject, metadataOf } from './metadata.ts';
import { type Fields, overlaid } from './overlay.ts';
import { overlayProblems } from './overlay-check.ts';

const configFolder = '/etc/levada';

/** Seconds between the end of draining and SIGKILL. */
const killMargin = 10;

/** The Deployment of a unit, whose pods read the configuration in the ConfigMap of that name. */
export function deploymentOf(
  owner: ModelDeployment,
  unit: ModelVersionUnit,
  configMap: string,
  image: string,
): KubernetesObject {
  const template = templateOf(unit, configMap, image);
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadataOf(owner, unit.name, unitLabels(unit)),
    spec: {
      replicas: unit.replicas,
      revisionHistoryLimit: 2, // the way back is `serve`, not `kubectl rollout undo`
      selector: { matchLabels: selectorOf(unit) },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: '25%' } },
      template: unit.podTemplate ? overlaid(template, unit.podTemplate) : template,
    },
  };
}

const templateOf = (unit: ModelVersionUnit, configMap: string, image: string): Fields => ({
  metadata: { labels: unitLabels(unit) },
  spec: podSpec(unit, configMap, image),
});

/** What is wrong with the overlays of units, as far as that can be said without an API server. */
export function podTemplateProblems(units: readonly ModelVersionUnit[]): Problem[] {
  const problems = units.flatMap((unit) =>
    // What the pods read and are made of is not an overlay's to change, whatever it is called.
    unit.podTemplate ? overlayProblems(templateOf(unit, unit.name, ''), unit.podTemplate) : [],
  );
  // Units of one resource mostly have one overlay.
  return [...new Map(problems.map((one) => [`${one.path} ${one.message}`, one])).values()];
}

/** A pod that the `restricted` Pod Security Standard admits. */
const podSpec = (unit: ModelVersionUnit, configMap: string, image: string): object => ({
  ...(unit.serviceAccountName !== undefined && { serviceAccountName: unit.serviceAccountName }),
  automountServiceAccountToken: false, // pods never call the API server
  enableServiceLinks: false,
  terminationGracePeriodSeconds: drainTimeoutMs / 1000 + killMargin,
  securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  ...(unit.replicas >= 2 && { topologySpreadConstraints: spread(unit) }),
  containers: [container(unit, image)],
  volumes: [
    { name: 'config', configMap: { name: configMap } },
    { name: 'tmp', emptyDir: {} },
    // A model is only read: many pods may share what many nodes can mount.
    ...(unit.claims ?? []).map((claimName, index) => ({
      name: claimVolume(index),
      persistentVolumeClaim: { claimName, readOnly: true },
    })),
  ],
});

const claimVolume = (index: number): string => `claim-${index}`;

const container = (unit: ModelVersionUnit, image: string): object => ({
  name: 'model-server',
  image,
  command: ['node', 'runtime/main.ts', '--config', `${configFolder}/${configFile}`],
  ports: Object.entries(containerPorts).map(([name, containerPort]) => ({ name, containerPort, protocol: 'TCP' })),
  ...(unit.resources && { resources: unit.resources }),
  // Large models take minutes to load; a process that is not ready by then is started again.
  startupProbe: { httpGet: probed('/livez'), periodSeconds: 1, timeoutSeconds: 2, failureThreshold: 600 },
  readinessProbe: { httpGet: probed('/readyz'), periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 2 },
  livenessProbe: { httpGet: probed('/livez'), periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3 },
  securityContext: {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    readOnlyRootFilesystem: true,
  },
  volumeMounts: [
    { name: 'config', mountPath: configFolder, readOnly: true },
    { name: 'tmp', mountPath: '/tmp' },
    ...(unit.claims ?? []).map((name, index) => ({
      name: claimVolume(index),
      mountPath: claimMount(name),
      readOnly: true,
    })),
  ],
});

const probed = (path: string): object => ({ path, port: 'admin' });

/** Over nodes, and over zones where there are several; a small cluster still takes all pods. */
const spread = (unit: ModelVersionUnit): object[] =>
  ['kubernetes.io/hostname', 'topology.kubernetes.io/zone'].map((topologyKey) => ({
    maxSkew: 1,
    topologyKey,
    whenUnsatisfiable: 'ScheduleAnyway',
    labelSelector: { matchLabels: selectorOf(unit) },
  }));
