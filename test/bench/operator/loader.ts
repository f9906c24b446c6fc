/**
 * `node loader.ts KUBECONFIG NAMESPACE CONCURRENCY`: what the operator writes for each resource of a namespace, by the same
 * client and by nothing else. Prints `RESULT {…}`.
 */
import { KubeConfig } from '@kubernetes/client-node';
import type { ModelDeployment, ModelDeploymentStatus } from '../../../api/v1alpha1/model-deployment.ts';
import {
  type ChildKind,
  childTypes,
  type LiveDeployment,
  modelDeployments,
} from '../../../operator/drivers/kubernetes/types.ts';
import { KubeClient } from '../../../operator/engine/client.ts';
import { EventRecorder, transitions } from '../../../operator/engine/events.ts';
import { kubeconfigAccess } from '../../../operator/engine/kubeconfig.ts';
import { pathOf, type StoredObject } from '../../../operator/engine/objects.ts';
import { Reflector } from '../../../operator/engine/reflector.ts';
import { renderObjects } from '../../../operator/objects/render.ts';
import { planModel } from '../../../operator/plan/model/plan.ts';
import { nothingObserved, type Observed, type UnitPlan } from '../../../operator/plan/units.ts';
import { parseResource } from '../../../operator/source/parse.ts';
import { isSettled, modelSha256 } from './node.ts';

const [, , kubeconfig = '', namespace = '', concurrency = '16'] = process.argv;
const config = new KubeConfig();
config.loadFromFile(kubeconfig);
const client = new KubeClient(kubeconfigAccess(config));
const fieldManager = 'loader';

const events = new EventRecorder(client, {
  instance: 'loader',
  now: () => new Date(),
  failed: (error) => console.error(error),
});
let writes = 0;

interface Begun {
  /** With its status of then. */
  readonly resource: ModelDeployment;
  /** The text of what was applied of each object, by kind and name. */
  readonly applied: ReadonlyMap<string, string>;
}

/** @returns the text of what was applied of each object, by kind and name */
async function applyObjects(resource: ModelDeployment, plan: UnitPlan, applied: ReadonlyMap<string, string>) {
  const all = new Map<string, string>();
  for (const object of renderObjects(resource, plan, { image: 'levada:bench' })) {
    const key = `${object.kind}/${object.metadata.name}`;
    const text = JSON.stringify(object);
    all.set(key, text);
    if (applied.get(key) === text) continue;
    await client.apply(childTypes[object.kind as ChildKind], object as StoredObject, { fieldManager });
    writes++;
  }
  return all;
}

async function applyStatus(resource: ModelDeployment, status: ModelDeploymentStatus): Promise<void> {
  const object = { metadata: { namespace, name: resource.metadata.name }, status } as StoredObject;
  await client.apply(modelDeployments, object, { fieldManager, subresource: 'status' });
  const before = resource.status?.conditions ?? [];
  await events.transition(resource, before, status.conditions);
  writes += 1 + transitions(before, status.conditions).length;
}

/** What is written before its pods are there. */
async function begin(resource: ModelDeployment): Promise<Begun> {
  const plan = planModel(resource, nothingObserved, new Date().toISOString());
  const applied = await applyObjects(resource, plan, new Map());
  for (const { name, replicas } of plan.units) {
    if (replicas === 1) continue; // the API server's own default
    await client.call({
      method: 'PATCH',
      path: pathOf(childTypes.Deployment, { namespace, name, subresource: 'scale' }),
      query: { fieldManager: 'loader-scale', force: true },
      body: { apiVersion: 'autoscaling/v1', kind: 'Scale', metadata: { namespace, name }, spec: { replicas } },
      contentType: 'application/apply-patch+yaml',
    });
    writes++;
  }
  await applyStatus(resource, plan.status);
  return { applied, resource: { ...resource, status: plan.status } };
}

/** What is written once they are: that it serves, and the digest that it serves. */
async function finish({ resource, applied }: Begun): Promise<void> {
  const now = new Date().toISOString();
  const { units, fronts } = planModel(resource, nothingObserved, now);
  const observed: Observed = {
    units: Object.fromEntries(
      units.map((unit) => [unit.name, { unit, state: 'Loaded', ready: unit.replicas, sha256: modelSha256 }]),
    ),
    fronts: Object.fromEntries(
      fronts.map(({ service, target }) => [service, { target, url: `http://${service}.${namespace}.svc` }]),
    ),
  };
  const { status } = planModel(resource, observed, now);
  await applyStatus(resource, status);
  const serving = { ...resource, status };
  await applyObjects(serving, planModel(serving, observed, now), applied);
}

const { apiVersion, kind } = modelDeployments;
const { items } = await client.call<{ items: StoredObject[] }>({
  method: 'GET',
  path: pathOf(modelDeployments, { namespace }),
});
const waiting = items.flatMap((item): Array<() => Promise<void>> => {
  const { resource } = parseResource({ apiVersion, kind, ...item });
  return resource?.kind === 'ModelDeployment' ? [() => load(resource)] : [];
});
const resources = waiting.length;
/** By Deployment: what is to be done once it has its pods, and until then. */
const settling = new Map<string, PromiseWithResolvers<void>>();
const deployments = new Reflector<LiveDeployment>(client, {
  type: childTypes.Deployment,
  namespace,
  failed: (error) => console.error(error),
});
deployments.onChange((now) => now && isSettled(now) && settling.get(now.metadata.name)?.resolve());
await deployments.start();

async function load(resource: ModelDeployment): Promise<void> {
  const names = planModel(resource, nothingObserved, new Date().toISOString()).units.map(({ name }) => name);
  const all = names.map((name) => {
    const one = Promise.withResolvers<void>();
    settling.set(name, one);
    return one.promise;
  });
  const begun = await begin(resource);
  // Nobody waits for the pods of one: the next one is begun meanwhile.
  finishing.push(Promise.all(all).then(() => finish(begun)));
}

const finishing: Promise<void>[] = [];
const began = performance.now();
await Promise.all(
  Array.from({ length: Number(concurrency) }, async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) await next();
  }),
);
await Promise.all(finishing);
console.log(`RESULT ${JSON.stringify({ resources, writes, ms: performance.now() - began })}`);
await deployments.close();
await client.close();
