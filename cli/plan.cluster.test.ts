/** What `levada plan` prints is what a real API server takes. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ChildKind, childTypes } from '../operator/drivers/kubernetes/types.ts';
import type { KubeClient } from '../operator/engine/client.ts';
import type { StoredObject } from '../operator/engine/objects.ts';
import type { KubernetesObject } from '../operator/objects/metadata.ts';
import { clientOf, freshNamespace, onCluster } from '../test/support/cluster.ts';
import { planCommand } from './plan.ts';
import { run } from './testing.ts';

onCluster((cluster) => {
  let client: KubeClient;
  let namespace: string;
  beforeAll(async () => {
    client = clientOf(cluster, cluster.admin);
    namespace = await freshNamespace(client);
  });
  afterAll(() => client.close());

  it.for(['examples/iris', 'examples/shop'])('%s', async (example) => {
    const { stdout } = await run(planCommand(), example, '-o', 'json');
    const { items } = JSON.parse(stdout) as { items: KubernetesObject[] };
    expect(items.length).toBeGreaterThan(3);
    for (const object of items) {
      const type = childTypes[object.kind as ChildKind];
      const asked = { ...object, metadata: { ...object.metadata, namespace } } as unknown as StoredObject;
      const taken = await client.apply(type, asked, { fieldManager: 'kubectl', dryRun: true });
      expect(taken.metadata.name).toBe(object.metadata.name);
    }
  });
});
