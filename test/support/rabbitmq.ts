import { randomUUID } from 'node:crypto';
import { describe, inject, it } from 'vitest';
import { type RabbitSettings, settingsFromUri } from '../../brokers/rabbitmq/settings.ts';
import { type RabbitVersion, rabbitVersions } from '../../hack/rabbitmq.ts';

/** A broker that tests share: names of what they make there are their own. */
export interface TestBroker {
  readonly name: string;
  readonly uri?: string;
  /** URL of its management API. */
  readonly management?: string;
  /** Why it is not there. */
  readonly missing?: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    readonly rabbitmq: TestBroker[];
  }
}

/** What tests of a broker get. */
export interface BrokerUnderTest {
  readonly name: string;
  readonly settings: RabbitSettings;
  readonly management: string;
}

/**
 * The same tests on each broker, and on all brokers at the same time: most of them wait most of the time. A broker that is
 * not there is skipped, with the reason.
 *
 * @param concurrent false: where tests share something beside brokers, what this process prints for one
 */
export function onEachRabbit(tests: (broker: BrokerUnderTest) => void, { concurrent = true } = {}): void {
  for (const broker of inject('rabbitmq')) onRabbit(broker, concurrent, tests);
}

/**
 * Tests of what stands above transports and topology, where versions of the broker do not differ: on the newest, and with
 * LEVADA_PROVE (`npm run prove`) like {@link onEachRabbit}.
 */
export function onNewestRabbit(tests: (broker: BrokerUnderTest) => void, options: { concurrent?: boolean } = {}): void {
  if (process.env['LEVADA_PROVE'] === 'true') onEachRabbit(tests, options);
  else onRabbit(newestRabbit(), options.concurrent ?? true, tests);
}

/** Of those that are there, or else of those that are not. */
export function newestRabbit(): TestBroker {
  const brokers = inject('rabbitmq');
  const newest = brokers.findLast(({ uri }) => uri !== undefined) ?? brokers.at(-1);
  return newest ?? { name: '', missing: 'no version of it is known' };
}

function onRabbit(
  { name, uri, management = '', missing }: TestBroker,
  concurrent: boolean,
  tests: (broker: BrokerUnderTest) => void,
): void {
  if (uri === undefined) describe.skip(`RabbitMQ ${name} (skipped: ${missing ?? 'no reason'})`, () => {});
  else {
    const broker = { name, settings: settingsFromUri(uri, 'the test'), management };
    describe(`RabbitMQ ${name}`, { concurrent }, () => {
      describe('one after the other', { concurrent: false }, () => tests(broker));
    });
  }
}

/** A vhost of its own on a broker that is shared, for tests that count what is there. @returns its URI */
export async function freshVhost({
  settings,
  management,
}: {
  settings: RabbitSettings;
  management: string;
}): Promise<string> {
  const { host, port, username, password } = settings;
  const name = `test-${randomUUID()}`;
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  const put = async (path: string, body: object) => {
    const response = await fetch(`${management}/api/${path}`, {
      method: 'PUT',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  };
  await put(`vhosts/${name}`, {});
  await put(`permissions/${name}/${username}`, { configure: '.*', write: '.*', read: '.*' });
  return `amqp://${username}:${password}@${host}:${port}/${name}`;
}

/**
 * A test for each version, at the same time, which starts brokers of its own: skipped, with the reason, where they cannot
 * be had.
 */
export function testEachVersion(
  title: string,
  options: { readonly timeout: number },
  run: (version: RabbitVersion) => Promise<void>,
): void {
  for (const { name, missing } of inject('rabbitmq')) {
    if (!rabbitVersions.includes(name as RabbitVersion)) continue; // a broker that is given cannot be killed
    const test = missing === undefined ? it : it.skip;
    const why = missing === undefined ? '' : ` (skipped: ${missing})`;
    test(`RabbitMQ ${name}: ${title}${why}`, { ...options, concurrent: true }, () => run(name as RabbitVersion));
  }
}
