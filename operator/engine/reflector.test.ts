import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LevadaError } from '../../api/errors.ts';
import type { KubeClient, WatchEvent } from './client.ts';
import type { ResourceType, StoredObject } from './objects.ts';
import { Reflector } from './reflector.ts';

const configMaps: ResourceType = { apiVersion: 'v1', kind: 'ConfigMap', plural: 'configmaps' };

const expired = { kind: 'Status', status: 'Failure', reason: 'Expired', code: 410 };

/** One watch: how long it stays open, and how it ends. */
interface Watch {
  readonly openMs: number;
  readonly event?: boolean;
  /** It is never taken. */
  readonly isUnanswered?: boolean;
  /** The API server has no such version any more, and says so in the watch. */
  readonly isExpired?: boolean;
  readonly fails?: boolean;
}

/** The pauses before each watch but the first, milliseconds, where the API server answers with `watches`. */
async function pausesOf(
  watches: readonly Watch[],
): Promise<{ pauses: number[]; told: number[]; connected: boolean[] }> {
  let now = 0;
  const begun: number[] = [];
  const ended: number[] = [];
  const told: number[] = [];
  const connected: boolean[] = [];
  const isOver = Promise.withResolvers<void>();
  const client = {
    call: async () => ({ metadata: { resourceVersion: '1' }, items: [] }),
    async *watch(
      _: unknown,
      __: unknown,
      { opened }: { opened: () => void },
    ): AsyncGenerator<WatchEvent<StoredObject>> {
      begun.push(now);
      const one = watches[begun.length - 1];
      if (!one) {
        isOver.resolve();
        await new Promise(() => {});
      }
      if (one?.isUnanswered !== true) opened();
      connected.push(reflector.isConnected);
      if (one?.event) yield { type: 'BOOKMARK', object: { metadata: { name: '', resourceVersion: '2' } } };
      if (one?.isExpired) yield { type: 'ERROR', object: expired };
      now += one?.openMs ?? 0;
      ended.push(now);
      if (one?.fails) throw new LevadaError('ClusterUnavailable', { detail: 'a test' });
    },
  } as unknown as KubeClient;
  const reflector: Reflector<StoredObject> = new Reflector(client, {
    type: configMaps,
    backoff: { firstMs: 100, maxMs: 30_000 },
    random: () => 1,
    now: () => now,
    sleep: async (ms) => {
      now += ms;
      await turn();
    },
    failed: (_, nextMs) => told.push(nextMs),
  });
  void reflector.start();
  await isOver.promise;
  return { pauses: begun.slice(1).map((at, i) => at - (ended[i] ?? 0)), told, connected };
}

it('a watch that ends at once is begun anew after a pause that grows, and is told to nobody', async () => {
  const { pauses, told } = await pausesOf([{ openMs: 0 }, { openMs: 5 }, { openMs: 999 }, { openMs: 1_000 }]);
  expect(pauses).toEqual([100, 200, 400, 0]);
  expect(told).toEqual([]);
});

it('an event does not keep it from that', async () => {
  const busy = { openMs: 0, event: true };
  expect((await pausesOf([busy, busy, busy])).pauses).toEqual([100, 100, 100]);
});

it('a watch that was open for longer than the longest pause has made up for failures of before, also without an event', async () => {
  const failed = { openMs: 0, fails: true };
  const { pauses, told } = await pausesOf([failed, failed, { openMs: 30_001 }, failed]);
  expect(pauses).toEqual([100, 200, 0, 100]);
  expect(told).toEqual([100, 200, 100]);
  expect((await pausesOf([failed, failed, { openMs: 30_001, fails: true }])).pauses).toEqual([100, 200, 100]);
  expect((await pausesOf([failed, failed, { openMs: 30_000, fails: true }])).pauses).toEqual([100, 200, 400]);
});

it('versions that are gone again and again are listed anew at once only the first time', async () => {
  const gone = { openMs: 0, isExpired: true };
  expect((await pausesOf([gone, gone, gone, { openMs: 0, event: true, isExpired: true }])).told).toEqual([
    0, 200, 400, 0,
  ]);
});

it('is connected once a watch is taken, not while it is asked for; and what is never taken makes up for no failure', async () => {
  const silent = { openMs: 40_000, isUnanswered: true, fails: true };
  const { pauses, connected } = await pausesOf([{ openMs: 1, fails: true }, silent, silent, { openMs: 1_000 }]);
  expect(pauses).toEqual([100, 200, 400, 0]);
  expect(connected).toEqual([true, false, false, true]);
});
