import { beforeEach, describe, expect, it } from 'vitest';
import { until } from '../../../test/support/wait.ts';
import type { Message } from '../../events/message.ts';
import type { DeadLetterFate } from '../transport.ts';
import type { Bench } from './bench.ts';
import { certified, message, plain } from './messages.ts';

/** What becomes of dead letters. */
export function deadLetters(bench: Bench): void {
  const { queue, apply, depthIs, consume, visitDead, deadIds, bury } = bench;

  describe('dead letters', () => {
    beforeEach(() => apply(queue('a', 'order'), queue('b', 'order')));

    it('are kept with their certificate, oldest first, until somebody says otherwise', async () => {
      await bury('a', '1', '2', '3');
      const seen: Message[] = [];
      await visitDead('a', async (message): Promise<DeadLetterFate> => {
        seen.push(message);
        return 'keep';
      });
      expect(seen.map(plain)).toEqual(['1', '2', '3'].map((id) => plain(certified(message(id)))));
      expect(await deadIds('a', ({ id }) => (id === '2' ? 'drop' : 'keep'))).toEqual(['1', '2', '3']);
      expect(await deadIds('a')).toEqual(['1', '3']);
      expect(await deadIds('b')).toEqual([]);
    });

    it('are shown until the visitor says stop', async () => {
      await bury('a', '1', '2', '3', '4');
      expect(await deadIds('a', ({ id }) => (id === '1' ? 'drop' : 'stop'))).toEqual(['1', '2']);
      expect(await deadIds('a')).toEqual(['2', '3', '4']);
    });

    it('go back to their own queue alone, as the message that is given', async () => {
      await bury('a', '1', '2');
      await depthIs('b', { ready: 2 });
      await visitDead('a', ({ id }) => ({ replay: message(id, { delivery: { attempt: 1, replay: 'r' } }) }));
      await depthIs('a', { ready: 2 });
      await depthIs('b', { ready: 2 });
      const inbox = await consume('a');
      for (const delivery of await inbox.has(2)) {
        const { message, redelivered } = delivery;
        expect(message.delivery).toEqual({ attempt: 1, replay: 'r' });
        expect(redelivered).toBe(false);
        await delivery.settle({ kind: 'done', emits: [] });
      }
      expect(inbox.ids).toEqual(['1', '2']);
      await depthIs('a', {});
    });

    it('go to the queue of another step, where one is named, and stay where there is none', async () => {
      await bury('a', '1', '2');
      await depthIs('b', { ready: 2 });
      await visitDead('a', (message) => (message.id === '1' ? { replay: message, to: 'b' } : 'keep'));
      await depthIs('b', { ready: 3 });
      await depthIs('a', { dead: 1 });
      await expect(visitDead('a', (message) => ({ replay: message, to: 'nowhere' }))).rejects.toMatchObject({
        code: expect.stringMatching(/^(BrokerUnavailable|PublishUnroutable)$/) as string,
      });
      expect(await deadIds('a')).toEqual(['2']);
    });

    it('that die during a visit are not part of it', async () => {
      await bury('a', '1', '2', '3');
      const inbox = await consume('a', 10);
      let buried = 0;
      inbox.each(async (delivery) => {
        await delivery.settle({ kind: 'dead', message: certified(delivery.message) });
        buried++;
      });
      let visits = 0;
      await visitDead('a', async (message) => {
        visits++;
        if (visits > 1) await until('the one before has died again', () => buried >= visits - 1);
        return { replay: message };
      });
      expect(visits).toBe(3);
      await depthIs('a', { dead: 3 });
    });

    it('are replayed or dropped once, whoever visits meanwhile', async () => {
      const ids = Array.from({ length: 30 }, (_, i) => `${i}`);
      await bury('a', ...ids);
      const decided: string[] = [];
      const visit = (fate: (message: Message) => DeadLetterFate) =>
        visitDead('a', async (message) => {
          await new Promise(setImmediate);
          decided.push(message.id);
          return fate(message);
        });
      await Promise.all([visit((message) => ({ replay: message })), visit(() => 'drop'), visit(() => 'drop')]);
      expect(decided.sort()).toEqual(ids.sort());
      expect(await deadIds('a')).toEqual([]);
    });

    it('stay when the visitor fails', async () => {
      await bury('a', '1', '2');
      await expect(
        visitDead('a', () => {
          throw new Error('the visitor has gone');
        }),
      ).rejects.toThrow('the visitor has gone');
      expect(await deadIds('a')).toEqual(['1', '2']);
    });
  });

  it('does not go on with a visit when it is closed', async () => {
    await apply(queue('a', 'order'));
    await bury('a', '1');
    let visits = 0;
    const visited = visitDead('a', async (): Promise<DeadLetterFate> => {
      visits++;
      await bench.transport.close();
      return 'drop';
    });
    await expect(visited).rejects.toMatchObject({ code: 'BrokerUnavailable' });
    expect(visits).toBe(1);
  });
}
