import { expect, it } from 'vitest';
import { type AdminApi, startAdmin } from './admin.ts';

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
