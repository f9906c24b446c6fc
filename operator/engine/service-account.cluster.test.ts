import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { onCluster } from '../../test/support/cluster.ts';
import { KubeClient } from './client.ts';
import { serviceAccountAccess } from './service-account.ts';

onCluster((cluster) => {
  let folder: string;
  const env = () => ({
    LEVADA_SERVICE_ACCOUNT: folder,
    KUBERNETES_SERVICE_HOST: '127.0.0.1',
    KUBERNETES_SERVICE_PORT: new URL(cluster.server).port,
  });
  const write = (name: string, text: string) => writeFile(join(folder, name), text);
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'levada-account-'));
    await write('ca.crt', cluster.ca);
    await write('token', `${cluster.admin.token}\n`);
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('reaches the API server with the token and the certificate that are mounted', async () => {
    const client = new KubeClient(serviceAccountAccess(env())!);
    expect(await client.call({ method: 'GET', path: '/api' })).toMatchObject({ kind: 'APIVersions' });
    await client.close();
  });

  it('reads the token again when the API server does not take it any more', async () => {
    const client = new KubeClient(serviceAccountAccess(env())!);
    await write('token', 'stale');
    const nodes = () => client.call({ method: 'GET', path: '/api/v1/nodes' });
    await expect(nodes()).rejects.toMatchObject({ code: 'ClusterUnauthorized' });
    await write('token', cluster.admin.token);
    await nodes();
    await rm(join(folder, 'token'));
    const other = new KubeClient(serviceAccountAccess(env())!);
    await expect(other.call({ method: 'GET', path: '/api' })).rejects.toMatchObject({
      code: 'ClusterUnauthorized',
      message: expect.stringContaining('token'),
    });
    await client.close();
    await other.close();
  });

  it('is none outside of a pod', async () => {
    expect(serviceAccountAccess({ LEVADA_SERVICE_ACCOUNT: folder })).toBeUndefined();
    expect(serviceAccountAccess({ ...env(), LEVADA_SERVICE_ACCOUNT: join(folder, 'nothing') })).toBeUndefined();
  });

  it('takes addresses of both families', () => {
    const at = (host: string) => serviceAccountAccess({ ...env(), KUBERNETES_SERVICE_HOST: host })?.server;
    expect(at('10.96.0.1')).toMatch(/^https:\/\/10\.96\.0\.1:\d+$/);
    expect(at('fd00::1')).toMatch(/^https:\/\/\[fd00::1\]:\d+$/);
  });
});
