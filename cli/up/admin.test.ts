import { expect, it } from 'vitest';
import { resourceKey, rolloutCommand } from '../../api/contract/names.ts';
import type { LocalPipelines } from '../../operator/drivers/local/pipelines.ts';
import { iris } from '../../operator/plan/model/testing.ts';
import { type AdminApi, type AdminRequest, startAdmin } from './admin.ts';
import { adminApi } from './admin-api.ts';
import { FileStore } from './store.ts';

const unused = () => Promise.reject(new Error('not asked for'));

it('what is being done for somebody who has gone ends', async () => {
  const begun = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  const api: AdminApi = {
    resources: () => [],
    steps: unused,
    deadLetters: unused,
    countDead: unused,
    drop: unused,
    command: unused,
    async replay(_pipeline, _filter, _options, signal) {
      signal.addEventListener('abort', () => ended.resolve());
      begun.resolve();
      await ended.promise;
      return 0;
    },
  };
  const admin = await startAdmin(api);
  try {
    const client = new AbortController();
    const headers = { authorization: `Bearer ${admin.token}` };
    const asked = fetch(`${admin.url}/replay`, { method: 'POST', headers, body: '{}', signal: client.signal });
    await begun.promise;
    client.abort();
    await expect(asked).rejects.toThrow();
    await ended.promise;
  } finally {
    admin.close();
  }
});

it('a command of a person becomes an annotation, for who holds the token', async () => {
  const store = new FileStore(
    () => new Date(),
    () => {},
    () => {},
  );
  store.replace([iris()]);
  const list = () => store.list().map((resource) => ({ resource, services: {}, admin: {} }));
  const nothing = {} as LocalPipelines;
  const admin = await startAdmin(adminApi(list, nothing, (key, text) => store.command(key, text)));
  const post = (request: AdminRequest, token = admin.token) =>
    fetch(`${admin.url}/command`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}` },
      body: JSON.stringify(request),
    });
  const given = () => store.list()[0]?.metadata.annotations?.[rolloutCommand];
  try {
    const resource = resourceKey(iris());
    expect((await post({ resource, command: 'pause/v2-1-0' }, 'guessed')).status).toBe(401);
    expect(given()).toBeUndefined();
    expect((await post({ resource, command: 'pause/v2-1-0' })).status).toBe(200);
    expect(given()).toBe('pause/v2-1-0');
    const unknown = await post({ resource: 'ModelDeployment/default/rose', command: 'pause/v2-1-0' });
    expect(unknown.status).toBe(500);
    expect(await unknown.json()).toEqual({
      code: 'UnknownResource',
      message: 'no resource "ModelDeployment/default/rose"; allowed: ModelDeployment/default/iris',
    });
  } finally {
    admin.close();
  }
});
