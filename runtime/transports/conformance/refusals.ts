import { describe, expect, it } from 'vitest';
import { maxMessageBytes } from '../../../api/contract/pipeline.ts';
import { until } from '../../../test/support/wait.ts';
import type { Delivery } from '../transport.ts';
import type { Bench, ItNeeds } from './bench.ts';
import { certified, many, message } from './messages.ts';

/** What is not taken. */
export function refusals(bench: Bench, itNeeds: ItNeeds): void {
  const { queue, apply, publish, depthIs, consume, visitDead, deadIds } = bench;

  describe('refuses', () => {
    it('what is too large, and everything that was published with it', async () => {
      await apply(queue('a', 'order'), queue('b', 'scored'));
      const large = message('2', { data: new Uint8Array(maxMessageBytes + 1) });
      await expect(publish(message('1'), large)).rejects.toMatchObject({
        code: 'MessageTooLarge',
        params: { found: maxMessageBytes + 1, limit: maxMessageBytes },
      });
      await publish(message('3'));
      const inbox = await consume('a');
      const [delivery] = await inbox.has(1);
      expect(inbox.ids).toEqual(['3']);
      const settled = delivery?.settle({ kind: 'done', emits: [message('4', { type: 'scored' }), large] });
      await expect(settled).rejects.toMatchObject({ code: 'MessageTooLarge' });
      await depthIs('b', {});
      await delivery?.settle({ kind: 'done', emits: [] });
      await depthIs('a', {});
    });

    itNeeds('budget', 'what it has no room for, and nothing that it holds already', async () => {
      await apply(queue('a', 'order'));
      const size = 1024 * 1024;
      const data = new Uint8Array(size);
      const big = (id: string) => message(id, { data });
      const most = Math.ceil((bench.harness.maxBytes as number) / size);
      let taken = 0;
      const full = await until('it is full', async () => {
        for (; taken <= most; taken++) {
          const error = await publish(big(`${taken}`)).catch((thrown: unknown) => thrown);
          if (error) return error;
        }
        throw new Error(`it has taken ${taken} MiB`);
      });
      expect(full).toMatchObject({ code: 'BrokerFull' });
      // All or none.
      await expect(publish(message('small'), ...Array.from({ length: 8 }, () => big('x')))).rejects.toMatchObject({
        code: 'BrokerFull',
      });
      await depthIs('a', { ready: taken });
      const inbox = await consume('a', 3);
      const [first, second, third] = (await inbox.has(3)) as [Delivery, Delivery, Delivery];
      const emits = Array.from({ length: most }, (_, i) => big(`emitted ${i}`));
      await expect(first.settle({ kind: 'done', emits })).rejects.toMatchObject({ code: 'BrokerFull' });
      await depthIs('a', { ready: taken - 3, unsettled: 3 });
      inbox.consumer.limit(0);
      await second.settle({ kind: 'retry', message: second.message, delayMs: 0 });
      await third.settle({ kind: 'dead', message: certified(third.message) });
      await first.settle({ kind: 'done', emits: [] });
      await depthIs('a', { ready: taken - 2, dead: 1 });
      expect(await deadIds('a', () => 'drop')).toEqual(['2']);
      inbox.each((delivery) => delivery.settle({ kind: 'done', emits: [] }));
      inbox.consumer.limit(100);
      await depthIs('a', {});
      await publish(big('again'));
    });

    it('everything when it is closed', async () => {
      await apply(queue('a', 'order'));
      await publish(...many(3));
      const inbox = await consume('a', 1);
      const [delivery] = await inbox.has(1);
      await bench.transport.close();
      await bench.transport.close();
      const unavailable = { code: 'BrokerUnavailable' };
      await expect(apply(queue('a', 'order'))).rejects.toMatchObject(unavailable);
      await expect(publish(message('4'))).rejects.toMatchObject(unavailable);
      await expect(consume('a')).rejects.toMatchObject(unavailable);
      await expect(bench.transport.depths(bench.pipeline)).rejects.toMatchObject(unavailable);
      await expect(visitDead('a', () => 'keep')).rejects.toMatchObject(unavailable);
      await expect(delivery?.settle({ kind: 'done', emits: [] })).rejects.toMatchObject(unavailable);
      inbox.consumer.limit(5);
      await inbox.consumer.close();
      expect(inbox.ids).toEqual(['0']);
    });
  });
}
