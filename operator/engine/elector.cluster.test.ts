import { afterAll, beforeAll, expect, it } from 'vitest';
import { errorCodeOf } from '../../api/errors.ts';
import { clientOf, freshNamespace, onCluster } from '../../test/support/cluster.ts';
import { startProxy } from '../../test/support/proxy.ts';
import { until } from '../../test/support/wait.ts';
import type { KubeClient } from './client.ts';
import { Elector, type ElectorOptions, leases } from './elector.ts';
import { pathOf, type StoredObject } from './objects.ts';

interface Lease extends StoredObject {
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseTransitions?: number;
    readonly leaseDurationSeconds?: number;
  };
}

onCluster((cluster) => {
  let client: KubeClient;
  beforeAll(() => {
    client = clientOf(cluster, cluster.admin);
  });
  afterAll(() => client.close());

  const lease = async (): Promise<string> => {
    const namespace = await freshNamespace(client);
    await client.call({
      method: 'POST',
      path: pathOf(leases, { namespace }),
      body: { metadata: { name: 'operator' } },
    });
    return namespace;
  };
  const read = (namespace: string) => client.get<Lease>(leases, { namespace, name: 'operator' });

  const elector = (namespace: string, identity: string, of = client, options: Partial<ElectorOptions> = {}) => {
    const failures: unknown[] = [];
    const times = { leaseMs: 2_000, renewMs: 1_000, retryMs: 100 };
    const one = new Elector(of, {
      namespace,
      name: 'operator',
      identity,
      failed: (error) => failures.push(error),
      ...times,
      ...options,
    });
    return { one, failures };
  };

  it('takes a lease that nobody holds, renews it, and gives it back at once', async () => {
    const namespace = await lease();
    const { one, failures } = elector(namespace, 'a');
    expect(await one.acquire()).toBe(true);
    const holding = one.hold();
    const first = await read(namespace);
    expect(first.spec).toMatchObject({ holderIdentity: 'a', leaseDurationSeconds: 2, leaseTransitions: 1 });
    const version = (): Promise<string | undefined> => read(namespace).then(({ metadata }) => metadata.resourceVersion);
    await until('it is renewed', async () => (await version()) !== first.metadata.resourceVersion);
    await one.release();
    expect(await holding).toBe('released');
    expect((await read(namespace)).spec).toMatchObject({ holderIdentity: '', leaseTransitions: 1 });
    const { one: next } = elector(namespace, 'b');
    const start = performance.now();
    expect(await next.acquire()).toBe(true);
    expect(performance.now() - start).toBeLessThan(1_900); // no wait for the lease's end
    expect((await read(namespace)).spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 2 });
    await next.release();
    expect(failures).toEqual([]);
  });

  it('gives it back also while it is being renewed', async () => {
    const namespace = await lease();
    const [written, told] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let renewals = 0;
    // The API server has the renewal, and its answer is on its way.
    const slow = Object.create(client) as KubeClient;
    slow.call = async (request) => {
      const answer = await client.call<never>(request);
      if (request.method === 'PUT' && ++renewals === 2) {
        written.resolve();
        await told.promise;
      }
      return answer;
    };
    const { one, failures } = elector(namespace, 'a', slow, { leaseMs: 60_000, renewMs: 50_000 });
    expect(await one.acquire()).toBe(true);
    const holding = one.hold();
    await written.promise;
    const released = one.release();
    told.resolve();
    await released;
    expect(await holding).toBe('released');
    expect(failures).toEqual([]);
    expect((await read(namespace)).spec?.holderIdentity).toBe('');
  });

  it('has one leader of many that ask at the same time', async () => {
    const namespace = await lease();
    const all = Array.from({ length: 5 }, (_, index) => elector(namespace, `e${index}`).one);
    const leading: number[] = [];
    const acquired = all.map(async (one, index) => {
      if (await one.acquire()) leading.push(index);
      return one.hold();
    });
    await until('one leads', () => leading.length === 1);
    const renewals = new Set<string | undefined>();
    await until('it was renewed ten times', async () => {
      renewals.add((await read(namespace)).metadata.resourceVersion);
      return renewals.size > 10;
    });
    expect(leading).toHaveLength(1);
    await Promise.all(all.filter((_, index) => index !== leading[0]).map((one) => one.release()));
    await all[leading[0] ?? 0]?.release();
    await Promise.all(acquired);
    expect((await read(namespace)).spec?.holderIdentity).toBe('');
  });

  it('takes over from one that is cut off, only after that one has given up', async () => {
    const namespace = await lease();
    const proxy = await startProxy(() => ({ host: '127.0.0.1', port: cluster.port }));
    const through = clientOf(cluster, cluster.admin, `https://127.0.0.1:${proxy.port}`);
    const { one, failures } = elector(namespace, 'cut-off', through);
    const { one: other } = elector(namespace, 'other');
    expect(await one.acquire()).toBe(true);
    let lostAt = Number.POSITIVE_INFINITY;
    const holding = one.hold().then((end) => {
      lostAt = performance.now();
      return end;
    });
    const taking = other.acquire().then(() => performance.now());
    proxy.silence();
    const takenAt = await taking;
    expect(await holding).toBe('lost');
    expect(takenAt).toBeGreaterThan(lostAt);
    expect(failures.map(errorCodeOf)).toContain('ClusterUnavailable');
    await other.release();
    await through.close();
    await proxy.close();
  });

  it('gives up at once when somebody else has taken it', async () => {
    const namespace = await lease();
    const { one } = elector(namespace, 'a');
    await one.acquire();
    const holding = one.hold();
    const path = pathOf(leases, { namespace, name: 'operator' });
    const contentType = 'application/merge-patch+json';
    await client.call({ method: 'PATCH', path, contentType, body: { spec: { holderIdentity: 'thief' } } });
    expect(await holding).toBe('lost');
    await one.release();
    expect((await read(namespace)).spec?.holderIdentity).toBe('thief'); // not given back by who does not hold it
  });

  it('waits for a lease that is not there, and says so; a clock that is years off changes nothing', async () => {
    const namespace = await freshNamespace(client);
    const { one, failures } = elector(namespace, 'a', client, { now: () => new Date(Date.now() - 1e12) });
    const acquired = one.acquire();
    await until('it was missed', () => failures.length > 1);
    expect(failures.map(errorCodeOf)).toContain('ClusterNotFound');
    await client.call({
      method: 'POST',
      path: pathOf(leases, { namespace }),
      body: { metadata: { name: 'operator' } },
    });
    expect(await acquired).toBe(true);
    const { one: other } = elector(namespace, 'b');
    const holding = one.hold();
    const taking = other.acquire();
    const renewals = new Set<string | undefined>();
    await until('it was renewed for longer than a lease lasts', async () => {
      renewals.add((await read(namespace)).metadata.resourceVersion);
      return renewals.size > 25;
    });
    expect((await read(namespace)).spec?.holderIdentity).toBe('a');
    await other.release();
    expect(await taking).toBe(false);
    await one.release();
    expect(await holding).toBe('released');
  });
});
