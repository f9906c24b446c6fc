import { describe, expect, it } from 'vitest';
import { until } from '../../../test/support/wait.ts';
import type { Delivery } from '../transport.ts';
import type { Bench } from './bench.ts';
import { certified, many, message } from './messages.ts';

/** Queues and bindings that come and go. */
export function topologies(bench: Bench): void {
  const { queue, apply, publish, depth, depthIs, consume, deadIds } = bench;

  describe('the topology', () => {
    it('applied again changes nothing', async () => {
      await apply(queue('a', 'order'));
      await publish(...many(3));
      const inbox = await consume('a', 1);
      await inbox.has(1);
      await apply(queue('a', 'order'));
      await depthIs('a', { ready: 2, unsettled: 1 });
      await publish(message('3'));
      await depthIs('a', { ready: 3, unsettled: 1 });
    });

    it('changes at once: what is bound gets messages, what is not any more gets none', async () => {
      await apply(queue('a', 'order'));
      await publish(message('1'));
      await apply(queue('a', 'other'), queue('b', 'order'));
      await publish(message('2'), message('3', { type: 'other' }));
      await apply(queue('a'), queue('b', 'order'));
      await publish(message('4'), message('5', { type: 'other' }));
      const a = await consume('a');
      const b = await consume('b');
      await a.has(2);
      await b.has(2);
      expect(a.ids).toEqual(['1', '3']);
      expect(b.ids).toEqual(['2', '4']);
    });

    it('routes by a key instead of the type, which something has to be bound to', async () => {
      await apply(queue('a', 'order@iris'), queue('b', 'order'));
      await bench.transport.publish(bench.pipeline, [message('1')], 'order@iris');
      await publish(message('2'));
      const unbound = bench.transport.publish(bench.pipeline, [message('3')], 'order@other');
      await expect(unbound).rejects.toMatchObject({ code: 'BrokerUnavailable' });
      const a = await consume('a');
      const b = await consume('b');
      expect((await a.has(1)).map(({ message }) => message.type)).toEqual(['order']);
      await b.has(1);
      expect([a.ids, b.ids]).toEqual([['1'], ['2']]);
    });

    it('keeps a queue that is taken away until it holds nothing', async () => {
      await apply(queue('a', 'order'), queue('b', 'order'), queue('empty', 'other'));
      await publish(message('1'), message('2'));
      await apply(queue('b', 'order'));
      await until('the empty one is gone', async () => (await depth('empty')) === undefined);
      await publish(message('3'));
      const inbox = await consume('a', 1);
      const [first] = await inbox.has(1);
      await first?.settle({ kind: 'retry', message: message('1', { delivery: { attempt: 2 } }), delayMs: 0 });
      await (await inbox.has(2))[1]?.settle({ kind: 'done', emits: [] });
      const third = (await inbox.has(3))[2] as Delivery;
      await third.settle({ kind: 'dead', message: certified(third.message) });
      expect(inbox.ids).toEqual(['1', '2', '1']);
      await depthIs('a', { dead: 1 });
      await inbox.consumer.close();
      expect(await deadIds('a', () => 'drop')).toEqual(['1']);
      await until('it is gone', async () => (await depth('a')) === undefined);
      await apply(queue('a', 'order'), queue('b', 'order'));
      await publish(message('4'));
      await depthIs('a', { ready: 1 });
    });

    it('takes a queue back that was being emptied, with what it holds', async () => {
      await apply(queue('a', 'order'));
      await publish(message('1'));
      await apply();
      await publish(message('2'));
      await apply(queue('a', 'order'));
      await publish(message('3'));
      const inbox = await consume('a');
      await inbox.has(2);
      expect(inbox.ids).toEqual(['1', '3']);
    });
  });
}
