import { brokerSecret, containerPorts, group, partName } from '../../../api/contract/names.ts';
import type { Placement } from '../../../api/contract/placement.ts';
import type { PipelinePlan } from '../../plan/units.ts';
import { exposureOf } from '../expose.ts';
import { partLabels, partSelector } from '../labels.ts';
import { type KubernetesObject, metadataOf, type Owner } from '../metadata.ts';
import { confined, deploymentFor, type Workload } from '../workload.ts';
import { planConfigMap, secretFolder, unitConfigMap } from './config.ts';
import { nameOf, type PipelineUnit, pipelineUnits } from './units.ts';

export interface PipelineObjectsOptions {
  readonly image: string;
  /** What the broker calls the queues. */
  readonly placement: Placement;
  /** What changes with what is in the broker's Secret; absent where there is no cluster to ask. */
  readonly secretVersion?: string;
}

/** On the pods: which version of the broker's Secret they were started with. Another one is other pods. */
const secretAnnotation = `${group}/broker-secret`;

/** Pods of one unit. */
const replicas = 1;

/**
 * Every object that `plan` stands for, in the order in which they are applied: first what is remembered, then what pods need
 * before the pods, and the Services that callers use last, with what leads there from outside.
 */
export function renderPipeline(owner: Owner, plan: PipelinePlan, options: PipelineObjectsOptions): KubernetesObject[] {
  const units = pipelineUnits(plan);
  const secret = secretOf(plan);
  return [
    planConfigMap(owner, plan),
    ...units.flatMap((unit) => {
      const configMap = unitConfigMap(owner, unit, plan, options.placement, secret);
      const workload = pipelineWorkload(unit, { name: configMap.metadata.name, secret, ...options });
      return [configMap, deploymentFor(owner, workload)];
    }),
    ...units.flatMap((unit) => servicesOf(owner, unit)),
    ...units.flatMap((unit) => outsideOf(owner, unit)),
  ];
}

/** `namespace/name` of the Secret that the pods of a plan mount. */
export function secretOf({ broker, topology: { pipeline } }: PipelinePlan): string {
  return broker?.secret ?? `${pipeline.split('/')[0]}/${brokerSecret(nameOf(pipeline))}`;
}

/**
 * The pods of a part.
 *
 * @param options `name`: of the ConfigMap with its configuration; `secret`: of the broker, `namespace/name`
 */
export function pipelineWorkload(
  unit: PipelineUnit,
  { name, secret, image, secretVersion }: Omit<PipelineObjectsOptions, 'placement'> & Record<'name' | 'secret', string>,
): Workload {
  const { serving, admin } = containerPorts;
  return {
    name: unit.name,
    labels: partLabels(unit.pipeline, unit.part, unit.source ? 'source' : 'consumer'),
    selector: partSelector(unit.pipeline, unit.part),
    replicas,
    ...(secretVersion !== undefined && { annotations: { [secretAnnotation]: secretVersion } }),
    configMap: name,
    runtime: {
      name: 'levada',
      image,
      ports: { ...(unit.source && { serving }), admin },
      resources: unit.pods.findLast(({ resources }) => resources)?.resources,
    },
    sidecars: unit.handlers.map(handlerContainer),
    volumes: [{ name: 'broker', mountPath: secretFolder, source: { secret: { secretName: nameOf(secret) } } }],
    serviceAccountName: unit.pods.findLast((one) => one.serviceAccountName)?.serviceAccountName,
    overlays: unit.pods.flatMap(({ podTemplate }) => podTemplate ?? []),
  };
}

/** A native sidecar: it is there before the consumer, and until after it. */
const handlerContainer = ({ step, image, port, resources }: PipelineUnit['handlers'][number]): object => ({
  name: `handler-${step}`,
  image,
  restartPolicy: 'Always',
  env: [{ name: 'PORT', value: String(port) }],
  ports: [{ containerPort: port, protocol: 'TCP' }],
  ...(resources && { resources }),
  // The consumer is started when somebody listens.
  startupProbe: { tcpSocket: { port }, periodSeconds: 1, timeoutSeconds: 2, failureThreshold: 600 },
  readinessProbe: { tcpSocket: { port }, periodSeconds: 5, timeoutSeconds: 2, failureThreshold: 2 },
  securityContext: confined,
});

/** An http source's, and one for each handler: other steps may call it, too. */
function servicesOf(owner: Owner, unit: PipelineUnit): KubernetesObject[] {
  const { pipeline, part, source, handlers } = unit;
  const service = (name: string, targetPort: string | number): KubernetesObject => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadataOf(owner, name, partLabels(pipeline, part, source ? 'source' : 'consumer')),
    spec: {
      selector: partSelector(pipeline, part),
      ports: [{ name: 'http', port: 80, targetPort, protocol: 'TCP' }],
    },
  });
  return [
    ...handlers.map(({ step, port }) => service(partName(pipeline, step), port)),
    ...(source ? [service(unit.name, 'serving')] : []),
  ];
}

/** A source answers under its path alone. */
const outsideOf = (owner: Owner, { name, pipeline, part, source, expose }: PipelineUnit): KubernetesObject[] =>
  source && expose
    ? exposureOf(owner, expose, {
        service: name,
        labels: partLabels(pipeline, part, 'source'),
        path: source.path,
        below: false,
      })
    : [];
