import { afterAll, beforeAll, expect, it } from 'vitest';
import { startControlPlane } from '../../hack/cluster.ts';
import { clientOf, freshNamespace, onCluster } from '../../test/support/cluster.ts';
import { startProxy } from '../../test/support/proxy.ts';
import { until } from '../../test/support/wait.ts';
import type { KubeClient, WatchEvent } from './client.ts';
import { pathOf, type ResourceType, type StoredObject } from './objects.ts';

const configMaps: ResourceType = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' };
const quotas: ResourceType = { apiVersion: 'v1', kind: 'ResourceQuota', plural: 'resourcequotas' };
interface ConfigMap extends StoredObject {
  readonly data?: Readonly<Record<string, string>>;
}

onCluster((cluster) => {
  let client: KubeClient;
  let namespace: string;
  beforeAll(async () => {
    client = clientOf(cluster, cluster.admin);
    namespace = await freshNamespace(client);
  });
  afterAll(() => client.close());

  const configMap = (name: string, data: Record<string, string>): ConfigMap => ({
    metadata: { namespace, name },
    data,
  });
  const apply = (object: StoredObject, fieldManager = 'levada') =>
    client.apply<ConfigMap>(configMaps, object, { fieldManager });

  it('owns the fields that it applies and no others: what is left out goes, what others set stays', async () => {
    await apply(configMap('fields', { ours: '1', gone: '1' }));
    await apply(configMap('fields', { theirs: '1' }), 'kubectl');
    const { data } = await apply(configMap('fields', { ours: '2' }));
    expect(data).toEqual({ ours: '2', theirs: '1' });
  });

  it('changes nothing when the same is applied again, nor in a dry run', async () => {
    const first = await apply(configMap('same', { a: '1' }));
    const again = await apply(configMap('same', { a: '1' }));
    expect(again.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
    await client.apply(configMaps, configMap('same', { a: '2' }), { fieldManager: 'levada', dryRun: true });
    const now = await client.get<ConfigMap>(configMaps, { namespace, name: 'same' });
    expect(now.data).toEqual({ a: '1' });
  });

  it.for([
    ['ClusterNotFound', 'configmaps "none" not found', () => client.get(configMaps, { namespace, name: 'none' })],
    [
      'ClusterRefused',
      '.unknown: field not declared in schema',
      () => apply({ ...configMap('odd', {}), unknown: 1 } as StoredObject),
    ],
    ['ClusterRefused', 'Invalid value: "No_Name"', () => apply(configMap('No_Name', {}))],
    [
      'ClusterNotFound',
      '404 page not found',
      () => client.get({ ...configMaps, apiVersion: 'none.dev/v1' }, { namespace }),
    ],
  ] as const)('says %s: %s', async ([code, text, ask]) => {
    await expect(ask()).rejects.toMatchObject({ code, message: expect.stringContaining(text) });
  });

  it('has one answer for each of many that ask at once, from the very first', async () => {
    const fresh = clientOf(cluster, cluster.admin);
    try {
      const all = Array.from({ length: 50 }, () => fresh.get(configMaps, { namespace }));
      const answers = await Promise.allSettled(all);
      expect(answers.filter(({ status }) => status === 'rejected')).toEqual([]);
    } finally {
      await fresh.close();
    }
  });

  it('says ClusterConflict of a write of what has changed meanwhile', async () => {
    const old = await apply(configMap('race', { a: '1' }));
    await apply(configMap('race', { a: '2' }));
    const path = pathOf(configMaps, { namespace, name: 'race' });
    const late = client.call({ method: 'PUT', path, body: { ...old, data: { a: '3' } } });
    await expect(late).rejects.toMatchObject({ code: 'ClusterConflict' });
  });

  it('says ClusterForbidden with the verb, the resource and who asked', async () => {
    const nobody = clientOf(cluster, cluster.nobody);
    await expect(nobody.get(configMaps, { namespace, name: 'same' })).rejects.toMatchObject({
      code: 'ClusterForbidden',
      message: expect.stringMatching(/User "nobody" cannot get resource "configmaps"/),
    });
    await nobody.close();
  });

  it('says ClusterQuotaExceeded with what is used up', async () => {
    const own = await freshNamespace(client);
    const quota = { metadata: { namespace: own, name: 'few' }, spec: { hard: { configmaps: '0' } } };
    await client.apply(quotas, quota, { fieldManager: 'test' });
    // No controller fills its status here, and a quota counts from then on.
    await client.apply(
      quotas,
      { ...quota, status: { hard: { configmaps: '0' }, used: { configmaps: '0' } } } as StoredObject,
      {
        fieldManager: 'test',
        subresource: 'status',
      },
    );
    await until('the quota is known', async () => {
      const error = await client
        .apply(configMaps, { metadata: { namespace: own, name: 'one' } }, { fieldManager: 'test' })
        .then(
          () =>
            client
              .call({ method: 'DELETE', path: pathOf(configMaps, { namespace: own, name: 'one' }) })
              .then(() => undefined),
          (thrown: unknown) => thrown,
        );
      if (error === undefined) return undefined;
      expect(error).toMatchObject({ code: 'ClusterQuotaExceeded', message: expect.stringContaining('exceeded quota') });
      return true;
    });
  });

  it('says ClusterUnauthorized of a token that is not known, and never the token', async () => {
    const stranger = clientOf(cluster, { ...cluster.admin, token: 'secret-of-a-stranger' });
    const error = await stranger.get(configMaps, { namespace, name: 'same' }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ClusterUnauthorized' });
    expect(String(error)).not.toContain('secret-of');
    await stranger.close();
  });

  it('says ClusterUnavailable when nobody listens, when connections are reset and when no answer comes', async () => {
    const proxy = await startProxy(() => ({ host: '127.0.0.1', port: cluster.port }));
    const through = clientOf(cluster, cluster.admin, `https://127.0.0.1:${proxy.port}`);
    const ask = () => through.call({ method: 'GET', path: pathOf(configMaps, { namespace }), timeoutMs: 1_000 });
    await ask();
    proxy.refuse();
    proxy.cut();
    await expect(ask()).rejects.toMatchObject({ code: 'ClusterUnavailable' });
    proxy.heal();
    await until('it is there again', () => ask().then(() => true));
    proxy.silence();
    await expect(ask()).rejects.toMatchObject({ code: 'ClusterUnavailable', message: expect.stringMatching(/time/) });
    await through.close();
    await proxy.close();
    const away = clientOf(cluster, cluster.admin, `https://127.0.0.1:${proxy.port}`);
    await expect(away.get(configMaps, { namespace, name: 'same' })).rejects.toMatchObject({
      code: 'ClusterUnavailable',
    });
    await away.close();
  });

  it('asks for nothing once it is closed, whatever it knew and whatever was under way', async () => {
    const closed = clientOf(cluster, cluster.admin);
    const ask = () => closed.apply(configMaps, configMap('after-close', {}), { fieldManager: 'levada' });
    await closed.get(configMaps, { namespace });
    const late = expect(ask()).rejects.toMatchObject({ code: 'ClusterUnavailable' });
    await closed.close();
    await late;
    await expect(ask()).rejects.toMatchObject({ code: 'ClusterUnavailable', message: expect.stringMatching(/closed/) });
    const found = client.get(configMaps, { namespace, name: 'after-close' });
    await expect(found).rejects.toMatchObject({ code: 'ClusterNotFound' });
    const fresh = clientOf(cluster, cluster.admin);
    const first = expect(fresh.get(configMaps, { namespace })).rejects.toMatchObject({ code: 'ClusterUnavailable' });
    await fresh.close();
    await first;
  });

  it('ends a request that is given up, without a code', async () => {
    const given = AbortSignal.abort(new Error('given up'));
    const ask = client.call({ method: 'GET', path: pathOf(configMaps, { namespace }), signal: given });
    await expect(ask).rejects.toThrow(/given up/);
  });

  it('hears of changes line by line, whatever is in them, until it is given up', async () => {
    const list = await client.call<{ metadata: { resourceVersion: string } }>({
      method: 'GET',
      path: pathOf(configMaps, { namespace }),
    });
    const end = new AbortController();
    const heard: WatchEvent<ConfigMap>[] = [];
    const watching = (async () => {
      const { resourceVersion } = list.metadata;
      const options = { query: { resourceVersion }, silenceMs: 60_000, signal: end.signal };
      for await (const event of client.watch<ConfigMap>(configMaps, { namespace }, options)) heard.push(event);
    })();
    await apply(configMap('watched', { text: 'line\nafter line \u2028 \u0085 ü' }));
    await client.call({ method: 'DELETE', path: pathOf(configMaps, { namespace, name: 'watched' }) });
    await until('both are heard', () => heard.length === 2);
    expect(heard.map(({ type }) => type)).toEqual(['ADDED', 'DELETED']);
    expect(heard[0]).toMatchObject({ object: { data: { text: 'line\nafter line \u2028 \u0085 ü' } } });
    end.abort();
    await watching;
  });

  it('ends a watch that has fallen silent, and says that one which is not answered is not there', async () => {
    const proxy = await startProxy(() => ({ host: '127.0.0.1', port: cluster.port }));
    const through = clientOf(cluster, cluster.admin, `https://127.0.0.1:${proxy.port}`);
    const signal = new AbortController().signal;
    let events = 0;
    const watch = async () => {
      const options = { query: { resourceVersion: '0' }, silenceMs: 500, signal };
      for await (const _ of through.watch(configMaps, { namespace }, options)) {
        events++;
        proxy.silence();
      }
    };
    await watch();
    expect(events).toBeGreaterThan(0);
    await expect(watch()).rejects.toMatchObject({
      code: 'ClusterUnavailable',
      message: expect.stringContaining('500 ms'),
    });
    await through.close();
    await proxy.close();
  });

  it('says ClusterExpired of a version that is long gone', async () => {
    const plane = await startControlPlane();
    try {
      const own = clientOf(plane, plane.admin);
      const list = await own.call<{ metadata: { resourceVersion: string } }>({
        method: 'GET',
        path: pathOf(configMaps, { namespace: 'default' }),
      });
      const { resourceVersion } = list.metadata;
      for (const name of ['a', 'b']) {
        await own.apply(configMaps, { metadata: { namespace: 'default', name } }, { fieldManager: 'test' });
      }
      await fetch(`${plane.etcd}/v3/kv/compaction`, {
        method: 'POST',
        body: JSON.stringify({ revision: String(Number(resourceVersion) + 1), physical: true }),
      });
      await plane.stopServer(); // it would still know by heart what etcd does not
      await plane.startServer();
      const watch = async () => {
        const options = { query: { resourceVersion }, silenceMs: 60_000, signal: AbortSignal.timeout(20_000) };
        for await (const event of own.watch(configMaps, { namespace: 'default' }, options)) return event;
        return undefined;
      };
      await expect(watch()).resolves.toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } });
      await own.close();
    } finally {
      await plane.remove();
    }
  });
});
