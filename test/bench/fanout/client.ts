/** `node client.ts PART {…}`: our step, in a process of its own. Prints `RESULT {…}`. */
import { getEventListeners } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StepAction } from '../../../api/contract/pipeline.ts';
import { FanoutShare, makeFanoutStep } from '../../../runtime/steps/fanout/fanout.ts';
import type { Result } from '../../../runtime/steps/fanout/result.ts';

type FanoutAction = Extract<StepAction, { kind: 'fanout' }>;

const controller = new AbortController();
const message = {
  ...{ id: '1', source: '/bench/api', type: 'order.scored', extensions: {}, data: new Uint8Array() },
  delivery: { attempt: 1 },
};
const context = {
  ...{ attempt: 1, idempotencyKey: 'enrich:1', emits: ['order.enriched'], signal: controller.signal },
  scored: () => {},
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
};

const share = new FanoutShare();
const fanoutStep = makeFanoutStep(share);

/** @returns gets the URLs of one event, in milliseconds */
function client(over: Partial<FanoutAction>) {
  const step = fanoutStep(
    {
      ...{ kind: 'fanout', urls: '{% urls %}', concurrency: 20, perOrigin: 20, timeoutMs: 10_000, attempts: 1 },
      ...{ maxBytes: 1_048_576, maxRedirects: 10, privateNetworks: 'Allow' },
      ...over,
    },
    { resolve: (url) => url },
  );
  return {
    async call(urls: string[]): Promise<{ results: Result[]; ms: number }> {
      const start = performance.now();
      const [event] = await step.run({ message, data: { urls } }, context);
      return { results: (event as { data: { results: Result[] } }).data.results, ms: performance.now() - start };
    },
    close: () => step.close(),
  };
}

/** Before anything is called: what this process speaks to its parent over. */
const ownSockets = sockets();

const times = (count: number, url: (index: number) => string) => Array.from({ length: count }, (_, i) => url(i));
const inParallel = (count: number, work: (index: number) => Promise<unknown>) =>
  Promise.all(Array.from({ length: count }, (_, i) => work(i)));

function sockets(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // the folder's own
    }
  }).length;
}

const parts = {
  /** 19 URLs that take 5 ms and one that hangs. */
  async deadline({ quick, calls, parallel }: { quick: string; calls: number; parallel: number }) {
    const { call } = client({ timeoutMs: 300, perOrigin: 1000 });
    const urls = [...times(19, (i) => `${quick}/5/${i}`), `${quick}/hang`];
    const latencies: number[] = [];
    let incomplete = 0;
    let left = calls;
    const worker = async (record: boolean) => {
      while (left-- > 0) {
        const { results, ms } = await call(urls);
        if (!record) continue;
        latencies.push(ms);
        const right = results.filter(({ status }, i) => status === (i < 19 ? 200 : 'timeout')).length;
        if (results.length !== 20 || right !== 20) incomplete++;
      }
    };
    left = parallel * 2;
    await inParallel(parallel, () => worker(false));
    left = calls;
    // Not all in step: as they would come.
    await inParallel(parallel, (i) => sleep((300 / parallel) * i).then(() => worker(true)));
    return { latencies, incomplete };
  },

  /** Requests a second, and a second of CPU. */
  async rate(o: { quick: string; calls: number; warmUpSeconds: number; seconds: number }) {
    const { call } = client({ perOrigin: 1000 });
    const urls = times(20, (i) => `${o.quick}/0/${i}?order=4711`);
    const run = async (seconds: number) => {
      const end = performance.now() + seconds * 1000;
      let requests = 0;
      await inParallel(o.calls, async () => {
        while (performance.now() < end) {
          const { results } = await call(urls);
          if (results.some(({ status }) => status !== 200)) throw new Error(JSON.stringify(results));
          requests += results.length;
        }
      });
      return requests;
    };
    await run(o.warmUpSeconds);
    const [start, before] = [performance.now(), process.cpuUsage()];
    const requests = await run(o.seconds);
    const { user, system } = process.cpuUsage(before);
    return { requests, wall: (performance.now() - start) / 1000, cpu: (user + system) / 1e6 };
  },

  /** What is there after each tenth of the calls, of which each has something that hangs, fails, closes and redirects. */
  async flat({ quick, calls, parallel }: { quick: string; calls: number; parallel: number }) {
    const { call, close } = client({ timeoutMs: 150, perOrigin: 1000, attempts: 2 });
    const odd = ['/hang', '/404', '/moved', '/closes'].map((path) => quick + path);
    const urls = [...times(16, (i) => `${quick}/0/${i}`), ...odd];
    const samples: Array<{
      calls: number;
      heap: number;
      sockets: number;
      kept: number;
      resources: number;
      listeners: number;
    }> = [];
    for (let done = 0; done < calls; done += calls / 10) {
      let left = calls / 10;
      await inParallel(parallel, async () => {
        while (left-- > 0) await call(urls);
      });
      // Sockets that are given up close in the background.
      await sleep(200);
      globalThis.gc?.();
      samples.push({
        calls: done + calls / 10,
        heap: process.memoryUsage().heapUsed,
        sockets: sockets() - ownSockets,
        kept: share.connections.idle,
        resources: process.getActiveResourcesInfo().length,
        listeners: getEventListeners(controller.signal, 'abort').length,
      });
    }
    await close();
    await sleep(200);
    return { samples, socketsAfterClose: sockets() - ownSockets };
  },

  /** Latencies of a step at a fixed rate, alone and while another one has a slow origin, in turn. */
  async neighbour(o: { quick: string; slow: string; rounds: number; seconds: number; perSecond: number }) {
    const ours = client({ perOrigin: 100 });
    const slow = client({ timeoutMs: 500 });
    const urls = times(19, (i) => `${o.quick}/5/${i}`);
    // As many events as would keep the origin's places taken, and small ones, so that they end soon after.
    const slowUrls = times(4, (i) => `${o.slow}/${i}`);
    const latencies = async (seconds: number) => {
      const begin = performance.now();
      const found: number[] = [];
      await inParallel(seconds * o.perSecond, async (i) => {
        const due = begin + (i * 1000) / o.perSecond;
        await sleep(Math.max(1, due - performance.now()));
        await ours.call(urls);
        // From when it was due: a stall counts for all that it delayed.
        found.push(performance.now() - due);
      });
      return found;
    };
    await latencies(2);
    const rounds: Array<{ alone: number[]; beside: number[]; late: number }> = [];
    for (let round = 0; round < o.rounds; round++) {
      const alone = await latencies(o.seconds);
      let isOver = false;
      let late = 0;
      const busy = inParallel(16, async () => {
        while (!isOver) late += (await slow.call(slowUrls)).results.filter(({ status }) => status === 'timeout').length;
      });
      await sleep(500);
      const beside = await latencies(o.seconds);
      isOver = true;
      rounds.push({ alone, beside, late });
      await busy;
    }
    return { rounds };
  },
};

const [, , part = '', options = '{}'] = process.argv;
const result = await parts[part as keyof typeof parts](JSON.parse(options));
process.stdout.write(`RESULT ${JSON.stringify(result)}\n`, () => process.exit(0));
