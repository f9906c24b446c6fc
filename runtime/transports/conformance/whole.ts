import { expect, it } from 'vitest';
import { until } from '../../../test/support/wait.ts';
import type { Delivery, Transport } from '../transport.ts';
import type { Bench, ItNeeds } from './bench.ts';
import { certified, many, message } from './messages.ts';

/** All of it together. */
export function whole(bench: Bench, itNeeds: ItNeeds): void {
  const { queue, apply, publish, depthIs, consume, visitDead } = bench;

  itNeeds('durability', 'delivers again what was not settled when it was closed', async () => {
    await apply(queue('a', 'order'));
    await publish(...many(3));
    const inbox = await consume('a', 2);
    const [first] = await inbox.has(2);
    await first?.settle({ kind: 'done', emits: [] });
    await inbox.has(3);
    await bench.transport.close();
    bench.transport = await (bench.harness.again as () => Promise<Transport>)();
    await apply(queue('a', 'order'));
    const next = await consume('a');
    await next.has(2);
    expect([...next.ids].sort()).toEqual(['1', '2']);
  });

  it('loses nothing and makes nothing twice while consumers come, go and fail', async () => {
    await apply(queue('a', 'order'), queue('b', 'scored'));
    const count = 300;
    const done: string[] = [];
    let fate = 0;
    const handle = async (one: Delivery): Promise<void> => {
      const { id, delivery } = one.message;
      const emitted = message(id, { type: 'scored' });
      const again = message(id, { delivery: { attempt: delivery.attempt + 1 } });
      await new Promise(setImmediate);
      if (delivery.attempt > 2 || fate++ % 4 === 0) {
        await one.settle({ kind: 'done', emits: [emitted] });
        done.push(id);
      } else if (fate % 4 === 1) await one.settle({ kind: 'retry', message: again, delayMs: 0 });
      else if (fate % 4 === 2) await one.settle({ kind: 'dead', message: certified(again) });
      else await one.settle({ kind: 'release' });
    };
    const inboxes = await Promise.all([consume('a', 10), consume('a', 1), consume('a', 30)]);
    for (const inbox of inboxes) inbox.each(handle);
    for (let from = 0; from < count; from += 50) {
      await publish(...Array.from({ length: 50 }, (_, i) => message(`${from + i}`)));
      await inboxes[0]?.consumer.close();
      inboxes[0] = await consume('a', 10);
      inboxes[0].each(handle);
    }
    await until('every message is done', async () => {
      await visitDead('a', (message) => ({ replay: message }));
      return done.length >= count;
    });
    await depthIs('a', {});
    for (const inbox of inboxes) expect(inbox.failures).toEqual([]);
    const b = await consume('b', count);
    await b.has(count);
    await depthIs('b', { unsettled: count });
    expect(new Set(done).size).toBe(count);
    expect([...b.ids].sort()).toEqual([...done].sort());
  });
}
