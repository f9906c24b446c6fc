import { afterAll, beforeAll, expect, it } from 'vitest';
import { errorCodeOf } from '../../api/errors.ts';
import { startControlPlane } from '../../hack/cluster.ts';
import { clientOf, freshNamespace, onCluster } from '../../test/support/cluster.ts';
import { startProxy } from '../../test/support/proxy.ts';
import { until } from '../../test/support/wait.ts';
import type { KubeClient } from './client.ts';
import { pathOf, type ResourceType, type StoredObject } from './objects.ts';
import { Reflector, type ReflectorOptions } from './reflector.ts';

const configMaps: ResourceType = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' };
interface ConfigMap extends StoredObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** A reflector, and what it has told. */
function reflect(client: KubeClient, namespace: string, options: Partial<ReflectorOptions> = {}) {
  const told: string[] = [];
  const failures: string[] = [];
  const reflector = new Reflector<ConfigMap>(client, {
    type: configMaps,
    namespace,
    backoff: { firstMs: 20, maxMs: 200 },
    failed: (error) => failures.push(errorCodeOf(error) ?? String(error)),
    ...options,
  });
  reflector.onChange((now, before) => {
    const what = now ? (before ? 'changed' : 'added') : 'removed';
    told.push(`${what} ${(now ?? before)?.metadata.name}`);
  });
  const has = (names: string[]) =>
    until(
      `it has ${names.join(', ')}`,
      () => {
        const found = [...reflector.values()].map(({ metadata }) => metadata.name);
        return found.sort().join() === [...names].sort().join();
      },
      { seen: () => JSON.stringify({ told, failures }) },
    );
  return { reflector, told, failures, has };
}

onCluster((cluster) => {
  let client: KubeClient;
  beforeAll(() => {
    client = clientOf(cluster, cluster.admin);
  });
  afterAll(() => client.close());

  const put = (namespace: string, name: string, value = '1', of = client) =>
    of.apply(configMaps, { metadata: { namespace, name, labels: { from: 'test' } }, data: { value } } as StoredObject, {
      fieldManager: 'test',
    });
  const remove = (namespace: string, name: string, of = client) =>
    of.call({ method: 'DELETE', path: pathOf(configMaps, { namespace, name }) });

  it('lists in pages, then tells each change once, and keeps no managedFields', async () => {
    const namespace = await freshNamespace(client);
    const names = Array.from({ length: 7 }, (_, index) => `c${index}`);
    for (const name of names) await put(namespace, name);
    const { reflector, told, has } = reflect(client, namespace, { pageSize: 3, labelSelector: 'from=test' });
    await reflector.start();
    expect(reflector.isSynced).toBe(true);
    expect(told).toEqual(names.map((name) => `added ${name}`));
    told.length = 0;
    await put(namespace, 'c0', '2');
    await put(namespace, 'c0', '2'); // changes nothing
    await put(namespace, 'new');
    await remove(namespace, 'c1');
    await has(['c0', 'c2', 'c3', 'c4', 'c5', 'c6', 'new']);
    expect(told).toEqual(['changed c0', 'added new', 'removed c1']);
    expect(reflector.get(namespace, 'c0')?.data).toEqual({ value: '2' });
    expect(reflector.get(namespace, 'c0')?.metadata).not.toHaveProperty('managedFields');
    await reflector.close();
    await put(namespace, 'later');
    expect(told).toHaveLength(3);
  });

  it('goes on where it was after a cut and after silence, with no list but the first', async () => {
    const namespace = await freshNamespace(client);
    const proxy = await startProxy(() => ({ host: '127.0.0.1', port: cluster.port }));
    const through = clientOf(cluster, cluster.admin, `https://127.0.0.1:${proxy.port}`);
    const { reflector, told, failures, has } = reflect(through, namespace, {
      labelSelector: 'from=test',
      silenceMs: 1_000,
    });
    await reflector.start();
    await put(namespace, 'a');
    await has(['a']);
    proxy.refuse();
    proxy.cut();
    await until('it has noticed', () => !reflector.isConnected);
    await put(namespace, 'b');
    await remove(namespace, 'a');
    proxy.heal();
    await has(['b']);
    proxy.silence();
    await put(namespace, 'c');
    const before = failures.length;
    await until('it has noticed', () => failures.length > before);
    proxy.heal();
    await has(['b', 'c']);
    expect(told).toEqual(['added a', 'added b', 'removed a', 'added c']);
    expect(new Set(failures)).toEqual(new Set(['ClusterUnavailable']));
    expect(reflector.lists).toBe(1);
    await reflector.close();
    await through.close();
    await proxy.close();
  });

  it('waits for the right to list, and says what is missing meanwhile', async () => {
    const namespace = await freshNamespace(client);
    const nobody = clientOf(cluster, cluster.nobody);
    await put(namespace, 'a');
    const { reflector, failures, has } = reflect(nobody, namespace, { labelSelector: 'from=test' });
    void reflector.start();
    await until('it was refused twice', () => failures.filter((code) => code === 'ClusterForbidden').length >= 2);
    expect(reflector.isSynced).toBe(false);
    const rbac = 'rbac.authorization.k8s.io';
    const metadata = { namespace, name: 'reader' };
    await client.apply(
      { apiVersion: `${rbac}/v1`, kind: 'Role', plural: 'roles' },
      { metadata, rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['list', 'watch'] }] } as StoredObject,
      { fieldManager: 'test' },
    );
    await client.apply(
      { apiVersion: `${rbac}/v1`, kind: 'RoleBinding', plural: 'rolebindings' },
      {
        metadata,
        roleRef: { apiGroup: rbac, kind: 'Role', name: 'reader' },
        subjects: [{ kind: 'User', name: 'nobody', apiGroup: rbac }],
      } as StoredObject,
      { fieldManager: 'test' },
    );
    await has(['a']);
    await reflector.close();
    await nobody.close();
  });

  it('lists anew when its version is gone, and tells what went missing meanwhile', async () => {
    const plane = await startControlPlane();
    const own = clientOf(plane, plane.admin);
    const proxy = await startProxy(() => ({ host: '127.0.0.1', port: plane.port }));
    const through = clientOf(plane, plane.admin, `https://127.0.0.1:${proxy.port}`);
    const { reflector, told, failures, has } = reflect(through, 'default', { labelSelector: 'from=test' });
    try {
      for (const name of ['stays', 'goes', 'changes', 'again']) await put('default', name, '1', own);
      await reflector.start();
      await has(['stays', 'goes', 'changes', 'again']);
      told.length = 0;
      proxy.refuse();
      proxy.cut();
      await remove('default', 'goes', own);
      await put('default', 'changes', '2', own);
      await remove('default', 'again', own);
      await put('default', 'again', '1', own);
      const { metadata } = (await put('default', 'comes', '1', own)) as StoredObject;
      await fetch(`${plane.etcd}/v3/kv/compaction`, {
        method: 'POST',
        body: JSON.stringify({ revision: metadata.resourceVersion, physical: true }),
      });
      await plane.stopServer();
      await plane.startServer();
      proxy.heal();
      await has(['stays', 'changes', 'again', 'comes']);
      const isAgain = (what: string) => what.endsWith(' again');
      expect(told.filter((what) => !isAgain(what)).sort()).toEqual(['added comes', 'changed changes', 'removed goes']);
      // Another one has its name.
      expect(told.filter(isAgain)).toEqual(['removed again', 'added again']);
      expect(failures).toContain('ClusterExpired');
      expect(reflector.lists).toBe(2);
    } finally {
      await reflector.close();
      await Promise.all([own.close(), through.close(), proxy.close()]);
      await plane.remove();
    }
  });
});
