import { describe, expect, it } from 'vitest';
import type { Message } from '../../events/message.ts';
import type { Delivery } from '../transport.ts';
import type { Bench } from './bench.ts';
import { certified, many, message, plain } from './messages.ts';

/** How a delivery ends. */
export function settlements(bench: Bench): void {
  const { queue, apply, publish, depthIs, consume } = bench;

  describe('settles', () => {
    it('done: the message is gone, and what it emits is where it belongs', async () => {
      await apply(queue('a', 'order'), queue('b', 'scored'), queue('c', 'scored'));
      await publish(message('1'));
      const [delivery] = await (await consume('a')).has(1);
      const emits = [message('2', { type: 'scored' }), message('3', { type: 'nobody.wants' })];
      await delivery?.settle({ kind: 'done', emits });
      await depthIs('a', {});
      await depthIs('b', { ready: 1 });
      await depthIs('c', { ready: 1 });
    });

    it('retry: the given message comes after its delay, and holds up no other', async () => {
      await apply(queue('a', 'order'));
      await publish(message('1'), message('2'));
      const inbox = await consume('a', 1);
      const [delivery] = await inbox.has(1);
      const again = message('1', { delivery: { attempt: 2 }, extensions: { seen: 'yes' } });
      const started = performance.now();
      await delivery?.settle({ kind: 'retry', message: again, delayMs: 1_000 });
      await (await inbox.has(2))[1]?.settle({ kind: 'done', emits: [] });
      expect(inbox.ids).toEqual(['1', '2']);
      await depthIs('a', { delayed: 1 });
      const third = (await inbox.has(3))[2];
      // Two clocks may count a millisecond differently.
      expect(performance.now() - started).toBeGreaterThanOrEqual(995);
      expect(third && plain(third.message)).toEqual(plain(again));
      expect(third?.redelivered).toBe(false);
      await third?.settle({ kind: 'done', emits: [] });
      await depthIs('a', {});
    });

    it('retry without a delay: behind the others', async () => {
      await apply(queue('a', 'order'));
      await publish(...many(3));
      const inbox = await consume('a', 1);
      const [first] = await inbox.has(1);
      await first?.settle({ kind: 'retry', message: message('0', { delivery: { attempt: 2 } }), delayMs: 0 });
      for (let i = 1; i <= 3; i++) await (await inbox.has(i + 1))[i]?.settle({ kind: 'done', emits: [] });
      expect(inbox.ids).toEqual(['0', '1', '2', '0']);
      await depthIs('a', {});
    });

    it('release: the same message again, before younger ones', async () => {
      await apply(queue('a', 'order'));
      await publish(...many(4));
      const first = await consume('a', 2);
      const inHand = await first.has(2);
      await first.consumer.close();
      for (const delivery of inHand) await delivery.settle({ kind: 'release' });
      await depthIs('a', { ready: 4 });
      const second = await consume('a', 4);
      const deliveries = await second.has(4);
      expect(second.ids).toEqual(['0', '1', '2', '3']);
      expect(deliveries.map(({ redelivered }) => redelivered)).toEqual([true, true, false, false]);
      expect(plain(deliveries[0]?.message as Message)).toEqual(plain(inHand[0]?.message as Message));
    });

    it.each(['done', 'release', 'retry', 'dead'] as const)('once: %s, and then no more', async (kind) => {
      await apply(queue('a', 'order'));
      await publish(message('1'));
      const inbox = await consume('a', 1);
      const [delivery] = await inbox.has(1);
      await inbox.consumer.close();
      const one = delivery as Delivery;
      expect(one.held).toBe(true);
      if (kind === 'done') await one.settle({ kind, emits: [] });
      else if (kind === 'release') await one.settle({ kind });
      else if (kind === 'retry') await one.settle({ kind, message: one.message, delayMs: 3_600_000 });
      else await one.settle({ kind, message: certified(one.message) });
      expect(one.held).toBe(false);
      await expect(one.settle({ kind: 'release' })).rejects.toThrow(/settled/);
      await expect(one.settle({ kind: 'done', emits: [message('2')] })).rejects.toThrow(/settled/);
      const wanted = { done: {}, release: { ready: 1 }, retry: { delayed: 1 }, dead: { dead: 1 } };
      await depthIs('a', wanted[kind]);
    });
  });
}
