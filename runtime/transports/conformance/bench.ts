import { randomUUID } from 'node:crypto';
import type { QueueSpec } from '../../../api/contract/pipeline.ts';
import { until } from '../../../test/support/wait.ts';
import type { Message } from '../../events/message.ts';
import type { DeadLetterFate, Transport } from '../transport.ts';
import { type Inbox, openInbox } from './inbox.ts';
import { certified, message } from './messages.ts';

export interface TransportHarness {
  readonly transport: Transport;
  /** Another connection to the same broker, once the first one is closed. */
  readonly again?: () => Promise<Transport>;
  /** Bytes that the broker takes, roughly, where it has such a limit. */
  readonly maxBytes?: number;
  readonly close: () => Promise<void>;
}

export type Skippable = 'durability' | 'budget';

/** A test that not every transport can pass. */
export type ItNeeds = (what: Skippable, title: string, test: () => Promise<void>) => void;

/** A transport for one test, and a pipeline of its own: brokers may be shared. */
export class Bench {
  harness!: TransportHarness;
  transport!: Transport;
  pipeline = '';

  async start(start: () => Promise<TransportHarness>): Promise<void> {
    this.harness = await start();
    this.transport = this.harness.transport;
    this.pipeline = `test/${randomUUID()}`;
  }

  /** A queue that gets these types of its own pipeline. */
  readonly queue = (name: string, ...types: string[]): QueueSpec => ({
    name,
    bindings: types.map((type) => ({ pipeline: this.pipeline, type })),
  });
  readonly apply = (...queues: QueueSpec[]) => this.transport.apply({ pipeline: this.pipeline, queues });
  readonly publish = (...messages: Message[]) => this.transport.publish(this.pipeline, messages);
  readonly depth = async (name: string) => (await this.transport.depths(this.pipeline))[name];
  readonly depthIs = (name: string, wanted: Partial<Record<'ready' | 'delayed' | 'unsettled' | 'dead', number>>) => {
    let seen = '';
    return until(
      `${name} has ${JSON.stringify(wanted)}`,
      async () => {
        const found = await this.depth(name);
        seen = JSON.stringify(found);
        const all = { ready: 0, delayed: 0, unsettled: 0, dead: 0, ...wanted };
        return found && Object.entries(all).every(([key, count]) => found[key as keyof typeof found] === count);
      },
      { seen: () => seen },
    );
  };
  readonly consume = (name: string, limit = 100, of = this.pipeline): Promise<Inbox> =>
    openInbox(this.transport, of, name, limit);
  readonly visitDead = (name: string, visit: (message: Message) => DeadLetterFate | Promise<DeadLetterFate>) =>
    this.transport.visitDead({ pipeline: this.pipeline, queue: name }, visit);
  readonly deadIds = async (name: string, visit: (message: Message) => DeadLetterFate = () => 'keep') => {
    const ids: string[] = [];
    await this.visitDead(name, (message) => {
      ids.push(message.id);
      return visit(message);
    });
    return ids;
  };
  /** Dead letters with these ids, in a queue that gets the type `order`. */
  readonly bury = async (name: string, ...ids: string[]) => {
    await this.publish(...ids.map((id) => message(id)));
    const inbox = await this.consume(name);
    for (const delivery of await inbox.has(ids.length)) {
      await delivery.settle({ kind: 'dead', message: certified(delivery.message) });
    }
    await inbox.consumer.close();
    await this.depthIs(name, { dead: ids.length });
  };
}
