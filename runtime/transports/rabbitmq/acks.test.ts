import { IllegalOperationError } from 'amqplib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Acks } from './acks.ts';

/** A channel that knows which tags are open, as the broker does. */
class Channel {
  readonly open = new Set<number>();
  frames = 0;
  #delivered = 0;

  deliver(): number {
    this.open.add(++this.#delivered);
    return this.#delivered;
  }

  ack({ fields: { deliveryTag } }: { fields: { deliveryTag: number } }, allUpTo = false): void {
    this.frames++;
    if (!this.open.has(deliveryTag)) throw new Error(`PRECONDITION_FAILED - unknown delivery tag ${deliveryTag}`);
    if (!allUpTo) this.open.delete(deliveryTag);
    else for (const tag of [...this.open]) if (tag <= deliveryTag) this.open.delete(tag);
  }

  nack(message: { fields: { deliveryTag: number } }): void {
    this.ack(message);
  }
}

describe('acknowledgements', () => {
  it('end with a channel that is on its way out', () => {
    const channel = new Channel();
    let frames = 0;
    const refuse = () => {
      frames++;
      throw new IllegalOperationError('Channel closing', '');
    };
    const acks = new Acks({ ack: refuse, nack: refuse }, 10, () => {});
    acks.ack(channel.deliver());
    acks.flush();
    acks.requeue(channel.deliver());
    acks.flush();
    expect(frames).toBe(1);
  });

  it('are one frame for a turn', () => {
    const channel = new Channel();
    const turns: Array<() => void> = [];
    const acks = new Acks(channel, 1_000, (run) => void turns.push(run));
    for (let i = 0; i < 100; i++) acks.ack(channel.deliver());
    expect(turns.length).toBe(1);
    turns[0]?.();
    expect([channel.frames, channel.open.size]).toEqual([1, 0]);
  });

  it('are sent at once when the broker waits for them: half of what may be in hand is over', () => {
    const channel = new Channel();
    const acks = new Acks(channel, 10, () => {});
    for (let i = 0; i < 4; i++) acks.ack(channel.deliver());
    expect(channel.frames).toBe(0);
    acks.ack(channel.deliver());
    expect([channel.frames, channel.open.size]).toEqual([1, 0]);
  });

  it('do not wait for a message that takes longer', () => {
    const channel = new Channel();
    const acks = new Acks(channel, 1_000, () => {});
    for (let i = 0; i < 5; i++) channel.deliver();
    for (const tag of [2, 3, 5]) acks.ack(tag);
    acks.flush();
    expect([...channel.open]).toEqual([1, 4]);
    acks.ack(1);
    acks.flush();
    acks.ack(4);
    acks.flush();
    expect([...channel.open]).toEqual([]);
  });

  it('name each delivery once, in whatever order they end', () => {
    const action = fc.oneof(fc.constant('deliver'), fc.constant('flush'), fc.nat(), fc.record({ requeue: fc.nat() }));
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), fc.integer({ min: 1, max: 20 }), (actions, limit) => {
        const channel = new Channel();
        const acks = new Acks(channel, limit, () => {});
        const inHand: number[] = [];
        for (const one of actions) {
          if (one === 'deliver') inHand.push(channel.deliver());
          else if (one === 'flush') acks.flush();
          else if (inHand.length > 0) {
            const index = (typeof one === 'number' ? one : (one as { requeue: number }).requeue) % inHand.length;
            const [tag = 0] = inHand.splice(index, 1);
            if (typeof one === 'number') acks.ack(tag);
            else acks.requeue(tag);
          }
        }
        acks.flush();
        expect([...channel.open].sort((a, b) => a - b)).toEqual(inHand.sort((a, b) => a - b));
      }),
    );
  });

  it('are not sent when the channel has gone', () => {
    const channel = new Channel();
    const acks = new Acks(channel, 1_000, () => {});
    acks.ack(channel.deliver());
    acks.close();
    acks.flush();
    acks.requeue(channel.deliver());
    expect(channel.frames).toBe(0);
  });
});
