/** What the tests of docs/guides/rabbitmq.md share. */
import { randomUUID } from 'node:crypto';
import { type ChannelModel, type ConfirmChannel, connect } from 'amqplib';
import type { QueueSettings, QueueSpec } from '../../../api/contract/pipeline.ts';
import { LevadaError } from '../../../api/errors.ts';
import { type RabbitSettings, settingsFromUri } from '../../../brokers/rabbitmq/settings.ts';
import type { Clock } from '../../../runtime/clock.ts';
import { Bench } from '../../../runtime/transports/conformance/bench.ts';
import { RabbitTransport } from '../../../runtime/transports/rabbitmq/transport.ts';
import { freshVhost } from '../../support/rabbitmq.ts';
import { until } from '../../support/wait.ts';

export interface Broker {
  readonly name: string;
  readonly settings: RabbitSettings;
  readonly management: string;
}

interface RigOptions {
  readonly mends?: boolean;
  readonly clock?: Clock;
}

/** A pipeline of its own, and a transport that mends its queues as `levada up` does. */
export class Rig extends Bench implements AsyncDisposable {
  readonly settings: RabbitSettings;
  /** What people would read. */
  readonly log: string[] = [];
  rabbit!: RabbitTransport;

  static async open(settings: RabbitSettings, { mends = true, clock }: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(settings);
    await rig.start(async () => {
      const transport = new RabbitTransport(settings, {
        name: 'a test',
        ...(clock && { clock }),
        log: (text) => rig.log.push(text),
        missing: (pipeline) => {
          if (mends) transport.broker.mend(pipeline).catch((error: unknown) => rig.log.push(String(error)));
        },
      });
      rig.rabbit = transport;
      return { transport, close: () => transport.close() };
    });
    return rig;
  }

  private constructor(settings: RabbitSettings) {
    super();
    this.settings = settings;
  }

  applyWith(settings: QueueSettings, ...queues: QueueSpec[]): Promise<void> {
    return this.rabbit.apply({ pipeline: this.pipeline, queues, settings });
  }

  /** What the broker calls the queues of a step. */
  namesOf(queue: string): string[] {
    return this.rabbit.broker.placement(this.pipeline)?.queues[queue]?.from.map(({ name }) => name) ?? [];
  }

  nameOf(queue: string): string {
    const [name] = this.namesOf(queue);
    if (name === undefined) throw new Error(`there is no queue ${queue}`);
    return name;
  }

  get state() {
    return this.rabbit.broker.state(this.pipeline);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.harness.close();
  }
}

/** In a vhost of its own. */
export const openRig = async (broker: Broker, options?: RigOptions): Promise<Rig> =>
  Rig.open(settingsFromUri(await freshVhost(broker), 'the test'), options);

/** The client that everybody else uses. */
export class Others implements AsyncDisposable {
  readonly connection: ChannelModel;
  readonly channel: ConfirmChannel;

  static async open(settings: RabbitSettings): Promise<Others> {
    const { host: hostname, port, vhost, username, password } = settings;
    const connection = await connect({ hostname, port, vhost, username, password });
    connection.on('error', () => {}); // a test may end it
    const channel = await connection.createConfirmChannel();
    channel.on('error', () => {});
    return new Others(connection, channel);
  }

  private constructor(connection: ChannelModel, channel: ConfirmChannel) {
    this.connection = connection;
    this.channel = channel;
  }

  /** Puts it into a queue, for sure. */
  async send(queue: string, content: Buffer, options: object = {}): Promise<void> {
    this.channel.sendToQueue(queue, content, { persistent: true, ...options });
    await this.channel.waitForConfirms();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.close().catch(() => {});
  }
}

/** The management API. @throws Error for what is not 2xx */
export async function ask<T = unknown>(
  { settings, management }: Broker,
  method: string,
  path: string,
  body?: object,
): Promise<T> {
  const authorization = `Basic ${Buffer.from(`${settings.username}:${settings.password}`).toString('base64')}`;
  const response = await fetch(`${management}/api/${path}`, {
    method,
    headers: { authorization, 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

interface Listed {
  readonly name: string;
  readonly client_properties: { readonly connection_name?: string };
}

/** The broker ends the connection that calls itself `name`, as soon as it lists it: every five seconds. */
export async function endConnection(broker: Broker, vhost: string, name: string): Promise<void> {
  const { name: listed } = await until(`the broker lists ${name}`, async () => {
    const all = await ask<Listed[]>(broker, 'GET', `vhosts/${vhost}/connections`);
    return all.find(({ client_properties }) => client_properties?.connection_name === name);
  });
  await ask(broker, 'DELETE', `connections/${encodeURIComponent(listed)}`);
}

export interface Permissions {
  readonly configure?: string;
  readonly write?: string;
  readonly read?: string;
}

/** A user of a vhost. @returns settings to connect with */
export async function userOf(
  broker: Broker,
  settings: RabbitSettings,
  { tags = '', configure = '^levada\\.', write = '^levada\\.', read = '^levada\\.' }: Permissions & { tags?: string },
): Promise<RabbitSettings> {
  const username = `user-${randomUUID()}`;
  await ask(broker, 'PUT', `users/${username}`, { password: 'secret', tags });
  await ask(broker, 'PUT', `permissions/${encodeURIComponent(settings.vhost)}/${username}`, { configure, write, read });
  return { ...settings, username, password: 'secret' };
}

/** What a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<LevadaError> {
  const error = await promise.then(
    (value) => new Error(`it resolved with ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  );
  if (error instanceof LevadaError) return error;
  throw error;
}
