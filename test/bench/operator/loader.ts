/**
 * `node loader.ts KUBECONFIG NAMESPACE CONCURRENCY`: what the operator writes for each resource of a namespace, by the same
 * client and by nothing else. Prints `RESULT {…}`.
 */
import { KubeConfig } from '@kubernetes/client-node';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import { type ChildKind, childTypes, modelDeployments } from '../../../operator/drivers/kubernetes/types.ts';
import { KubeClient } from '../../../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../../../operator/engine/objects.ts';
import { renderObjects } from '../../../operator/objects/render.ts';
import { planModel } from '../../../operator/plan/model/plan.ts';
import { nothingObserved } from '../../../operator/plan/units.ts';
import { parseResource } from '../../../operator/source/parse.ts';

const [, , kubeconfig = '', namespace = '', concurrency = '16'] = process.argv;
const config = new KubeConfig();
config.loadFromFile(kubeconfig);
const client = new KubeClient(config);
const fieldManager = 'loader';

/** @returns how many writes it took */
async function write(resource: ModelDeployment): Promise<number> {
  const { units, fronts, status } = planModel(resource, nothingObserved, new Date().toISOString());
  const objects = renderObjects(resource, { units, fronts }, { image: 'levada:bench' });
  for (const object of objects) {
    await client.apply(childTypes[object.kind as ChildKind], object as StoredObject, { fieldManager });
  }
  for (const { name, replicas } of units) {
    await client.call({
      method: 'PATCH',
      path: pathOf(childTypes.Deployment, { namespace, name, subresource: 'scale' }),
      query: { fieldManager: 'loader-scale', force: true },
      body: { apiVersion: 'autoscaling/v1', kind: 'Scale', metadata: { namespace, name }, spec: { replicas } },
      contentType: 'application/apply-patch+yaml',
    });
  }
  const object = { metadata: { namespace, name: resource.metadata.name }, status } as StoredObject;
  await client.apply(modelDeployments, object, { fieldManager, subresource: 'status' });
  return objects.length + units.length + 1;
}

const path = pathOf(modelDeployments, { namespace });
const { items } = await client.call<{ items: StoredObject[] }>({ method: 'GET', path });
const { apiVersion, kind } = modelDeployments;
const waiting = items.flatMap((item) => {
  const { resource } = parseResource({ apiVersion, kind, ...item });
  return resource?.kind === 'ModelDeployment' ? [resource] : [];
});
const resources = waiting.length;
let writes = 0;
const began = performance.now();
await Promise.all(
  Array.from({ length: Number(concurrency) }, async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) writes += await write(next);
  }),
);
console.log(`RESULT ${JSON.stringify({ resources, writes, ms: performance.now() - began })}`);
await client.close();
