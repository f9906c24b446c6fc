/** The cases of crd.test.ts by a whole API server, through HTTP: what kubectl meets. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ResourceKind } from '../../api/v1alpha1/resource.ts';
import { type ControlPlane, startControlPlane } from '../../hack/cluster.ts';
import { typeOf } from '../../operator/drivers/kubernetes/types.ts';
import type { KubeClient } from '../../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../../operator/engine/objects.ts';
import { clientOf, installKinds, onCluster } from '../support/cluster.ts';
import { type Case, readCases } from './cases.ts';

const kinds = ['ModelDeployment', 'EventPipeline'] as const satisfies ResourceKind[];
const cases = Object.fromEntries(await Promise.all(kinds.map(async (kind) => [kind, await readCases(kind)] as const)));

onCluster(() => {
  let plane: ControlPlane;
  let admin: KubeClient;
  beforeAll(async () => {
    plane = await startControlPlane();
    admin = clientOf(plane, plane.admin);
    await installKinds(admin);
  });
  afterAll(async () => {
    await admin.close();
    await plane.remove();
  });

  describe.for(kinds)('%s', (kind) => {
    const type = typeOf(kind);
    let number = 0;

    /** In a namespace of its own: names are part of what is judged. @returns why it is not taken */
    async function judge({ object, oldObject, subresource }: Case): Promise<string | undefined> {
      const namespace = `case-${kind.toLowerCase()}-${number++}`;
      const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
      await admin.call({ method: 'POST', path: '/api/v1/namespaces', body });
      const query = { fieldValidation: 'Strict' };
      const placed = ({ metadata, ...rest }: StoredObject, version = '') => ({
        ...rest,
        metadata: { ...metadata, namespace, ...(version !== '' && { resourceVersion: version }) },
      });
      const create = (one: unknown) =>
        admin.call<StoredObject>({
          method: 'POST',
          path: pathOf(type, { namespace }),
          query,
          body: placed(one as StoredObject),
        });
      if (oldObject === undefined) return await refusal(create(object));
      const { metadata } = await create(oldObject);
      return await refusal(
        admin.call({
          method: 'PUT',
          path: pathOf(type, { namespace, name: metadata.name, ...(subresource && { subresource }) }),
          query,
          body: placed(object as StoredObject, metadata.resourceVersion),
        }),
      );
    }

    test.for(cases[kind] ?? [])('$name', async (entry) => {
      const said = await judge(entry);
      expect(said === undefined, said ?? 'taken').toBe(entry.valid);
      // Of another kind or version the server speaks in the words of the path that it came by.
      const { apiVersion, kind: of } = entry.object as StoredObject;
      if (entry.error !== undefined && apiVersion === type.apiVersion && of === kind)
        expect(said).toContain(entry.error);
    });
  });
});

const refusal = (request: Promise<unknown>): Promise<string | undefined> =>
  request.then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
