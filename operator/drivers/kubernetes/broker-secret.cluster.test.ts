import { afterAll, beforeAll, expect, it } from 'vitest';
import { clientOf, freshNamespace, onCluster } from '../../../test/support/cluster.ts';
import type { KubeClient } from '../../engine/client.ts';
import { pathOf, type StoredObject } from '../../engine/objects.ts';
import { newSigningKey, signerOf } from '../routing/signing.ts';
import { BrokerSecrets } from './broker-secret.ts';
import { secrets } from './types.ts';

onCluster((cluster) => {
  let client: KubeClient;
  beforeAll(() => {
    client = clientOf(cluster, cluster.admin);
  });
  afterAll(() => client.close());

  const settings = { host: 'rabbitmq.shop.svc', username: 'eve', password: 'p-4711' };
  const put = (namespace: string, name: string, values: Readonly<Record<string, string>>, labels: object = {}) => {
    const encoded = Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString('base64')] as const);
    const secret = { metadata: { namespace, name, labels }, data: Object.fromEntries(encoded) };
    return client.apply(secrets, secret as unknown as StoredObject, { fieldManager: 'test' });
  };
  const secretsWith = (key = newSigningKey()) => new BrokerSecrets(client, async () => signerOf(key), undefined);

  it('the version of a Secret changes with what is in it, and with nothing else', async () => {
    const namespace = await freshNamespace(client);
    const own = secretsWith();
    const version = async () => (await own.read(`${namespace}/rabbitmq`, 'the test')).version;
    const { metadata: first } = await put(namespace, 'rabbitmq', settings);
    const before = await version();
    const { metadata: labelled } = await put(namespace, 'rabbitmq', settings, { team: 'a' });
    expect(labelled.resourceVersion).not.toBe(first.resourceVersion);
    expect(await version()).toBe(before);
    await client.call({ method: 'DELETE', path: pathOf(secrets, { namespace, name: 'rabbitmq' }) });
    await put(namespace, 'rabbitmq', settings);
    expect(await version()).toBe(before);
    await put(namespace, 'rabbitmq', { ...settings, password: 'p-4712' });
    expect(await version()).not.toBe(before);
    await put(namespace, 'rabbitmq', { ...settings, vhost: 'shop' });
    expect(await version()).not.toBe(before);
    await put(namespace, 'rabbitmq', settings);
    expect(await version()).toBe(before);
  });

  it('nobody who lacks the key can tell from it what is in it, or that two hold the same', async () => {
    const namespace = await freshNamespace(client);
    for (const name of ['a', 'b']) await put(namespace, name, settings);
    const key = newSigningKey();
    const read = async (name: string, by = secretsWith(key)) => await by.read(`${namespace}/${name}`, 'the test');
    const { version } = await read('a');
    expect(version).toMatch(/^[0-9a-f]{32}$/);
    expect(version).toBe((await read('a', secretsWith(key))).version);
    expect(version).not.toBe((await read('b')).version);
    expect(version).not.toBe((await read('a', secretsWith())).version);
  });
});
