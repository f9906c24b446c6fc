import { describe, expect, it } from 'vitest';
import { until } from '../../../test/support/wait.ts';
import type { Message } from '../../events/message.ts';
import type { Bench } from './bench.ts';
import { many, message, plain } from './messages.ts';

/** What is delivered, to whom, and how much at once. */
export function deliveries(bench: Bench): void {
  const { queue, apply, publish, depthIs, consume } = bench;

  describe('delivers', () => {
    it('a message as it was published', async () => {
      await apply(queue('a', 'order'));
      const full: Message = {
        id: 'ä 1',
        source: '/test/orders/api?x=1',
        type: 'order',
        subject: 'ünïcode',
        time: '2026-11-23T10:00:00.123Z',
        datacontenttype: 'application/json; charset=utf-8',
        dataschema: 'https://example.com/order.json',
        extensions: { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', other: 'välue' },
        data: new Uint8Array([0, 255, 128, 10, 13]),
        delivery: { attempt: 3, replay: 'r1' },
      };
      const bare = message('2', { data: new Uint8Array(0) });
      await publish(full, bare);
      const deliveries = await (await consume('a')).has(2);
      expect(deliveries.map((one) => plain(one.message))).toEqual([plain(full), plain(bare)]);
      expect(deliveries.map(({ redelivered }) => redelivered)).toEqual([false, false]);
    });

    it('a copy into every queue that is bound to the type, of other pipelines as well', async () => {
      const other = `${bench.pipeline}-other`;
      await apply(queue('a', 'order'), queue('b', 'order', 'order.scored'), queue('c', 'order.scored'));
      await bench.transport.apply({ pipeline: other, queues: [queue('a', 'order')] });
      await publish(message('1'), message('2', { type: 'order.scored' }), message('3', { type: 'nobody.wants' }));
      await bench.transport.publish(other, [message('4')]);
      const inboxes = [await consume('a'), await consume('b'), await consume('c'), await consume('a', 100, other)];
      const wanted = [['1'], ['1', '2'], ['2'], ['1']];
      for (const [i, inbox] of inboxes.entries()) {
        await inbox.has(wanted[i]?.length ?? 0);
        expect(inbox.ids).toEqual(wanted[i]);
      }
      expect(Object.keys(await bench.transport.depths(bench.pipeline)).sort()).toEqual(['a', 'b', 'c']);
      expect(Object.keys(await bench.transport.depths(other))).toEqual(['a']);
      await bench.transport.apply({ pipeline: other, queues: [] });
    });

    it('the oldest first', async () => {
      await apply(queue('a', 'order'));
      const ids = Array.from({ length: 50 }, (_, i) => `${i}`);
      await publish(...ids.slice(0, 20).map((id) => message(id)));
      for (const id of ids.slice(20)) await publish(message(id));
      const inbox = await consume('a', 50);
      await inbox.has(50);
      expect(inbox.ids).toEqual(ids);
    });

    it('nothing inside the calls that make it possible', async () => {
      await apply(queue('a', 'order'));
      await publish(message('1'));
      let calls = 0;
      const opened = bench.transport.consume({ pipeline: bench.pipeline, queue: 'a' }, 5, () => calls++);
      expect(calls).toBe(0);
      const consumer = await opened;
      const published = publish(message('2'));
      expect(calls).toBeLessThan(2);
      await published;
      await until('both are delivered', () => calls === 2);
      await consumer.close();
    });

    it('to no queue that there is not', async () => {
      await apply(queue('a', 'order'));
      await expect(consume('b')).rejects.toMatchObject({ code: 'BrokerUnavailable' });
    });
  });

  describe('limits', () => {
    it('what is in hand, and gives the next when one is settled', async () => {
      await apply(queue('a', 'order'));
      await publish(...many(5));
      const inbox = await consume('a', 2);
      const [first] = await inbox.has(2);
      await depthIs('a', { ready: 3, unsettled: 2 });
      await first?.settle({ kind: 'done', emits: [] });
      await inbox.has(3);
      await depthIs('a', { ready: 2, unsettled: 2 });
      expect(inbox.ids).toEqual(['0', '1', '2']);
    });

    it('to nothing, and what is in hand stays there', async () => {
      await apply(queue('a', 'order'), queue('sentinel', 'sentinel'));
      const inbox = await consume('a', 3);
      await publish(...many(3));
      const inHand = await inbox.has(3);
      inbox.consumer.limit(0);
      await publish(message('3'), message('s', { type: 'sentinel' }));
      for (const delivery of inHand.slice(0, 2)) await delivery.settle({ kind: 'done', emits: [] });
      await (await consume('sentinel')).has(1);
      await depthIs('a', { ready: 1, unsettled: 1 });
      expect(inbox.ids).toEqual(['0', '1', '2']);
      inbox.consumer.limit(1);
      await inHand[2]?.settle({ kind: 'done', emits: [] });
      await (await inbox.has(4))[3]?.settle({ kind: 'done', emits: [] });
      await depthIs('a', {});
    });

    it('anew while messages wait', async () => {
      await apply(queue('a', 'order'));
      await publish(...many(10));
      const inbox = await consume('a', 0);
      await depthIs('a', { ready: 10 });
      inbox.consumer.limit(1);
      await depthIs('a', { ready: 9, unsettled: 1 });
      inbox.consumer.limit(4);
      await depthIs('a', { ready: 6, unsettled: 4 });
      expect((await inbox.has(4)).length).toBe(4);
    });
  });

  describe('consumers of one queue', () => {
    it('share its messages, each of which goes to one of them', async () => {
      await apply(queue('a', 'order'));
      const inboxes = await Promise.all([consume('a', 5), consume('a', 5), consume('a', 5)]);
      await publish(...many(15));
      for (const inbox of inboxes) await inbox.has(5);
      expect(inboxes.flatMap(({ ids }) => ids).sort()).toEqual(
        many(15)
          .map(({ id }) => id)
          .sort(),
      );
    });

    it('may settle what they have when they are closed, and get nothing more', async () => {
      await apply(queue('a', 'order'), queue('b', 'scored'));
      await publish(...many(4));
      const first = await consume('a', 2);
      const inHand = await first.has(2);
      await first.consumer.close();
      await first.consumer.close();
      const second = await consume('a', 10);
      await second.has(2);
      expect(second.ids).toEqual(['2', '3']);
      await inHand[0]?.settle({ kind: 'done', emits: [message('e', { type: 'scored' })] });
      await inHand[1]?.settle({ kind: 'release' });
      await second.has(3);
      expect(second.ids).toEqual(['2', '3', '1']);
      expect(first.ids).toEqual(['0', '1']);
      await depthIs('b', { ready: 1 });
    });
  });
}
