/** Settings of queues change under load: ten times where it is proved, else three. */
import { expect, test } from 'vitest';
import { freshVhost, onNewestRabbit } from '../support/rabbitmq.ts';
import { until } from '../support/wait.ts';
import { deadLetters, judge, resource, settled, startClient, startPipeline, steps } from './pipeline.ts';

const seed = Number(process.env['LEVADA_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const changes = process.env['LEVADA_PROVE'] ? 10 : 3;
const spec = (change: number) => ({
  broker: { rabbitmq: { queues: { maxLength: 100_000 + change, deliveryLimit: 20 + change } } },
});

onNewestRabbit((broker) => {
  test('nothing is lost, nothing is refused, and old queues go', { timeout: 600_000 }, async () => {
    const brokerUrl = await freshVhost(broker);
    const vhost = new URL(brokerUrl).pathname.slice(1);
    await using stack = new AsyncDisposableStack();
    const { workspace, up, url, file } = await startPipeline(stack, { brokerUrl, seed, spec: spec(0) });
    const authorization = `Basic ${Buffer.from('guest:guest').toString('base64')}`;
    const queues = async () => {
      const response = await fetch(`${broker.management}/api/queues/${vhost}`, { headers: { authorization } });
      return (await response.json()) as Array<{ name: string; arguments: Record<string, unknown> }>;
    };
    /** Queues of steps, with the delivery limits that they were made with. */
    const work = async () =>
      (await queues())
        .filter(({ name }) => /^levada\.default\.chaos\.(one|two)\.[0-9a-f]{8}$/.test(name))
        .map(({ name, arguments: args }) => `${name.split('.')[3]} ${args['x-delivery-limit']}`);
    const posting = startClient(url, 100);
    for (let change = 1; change <= changes; change++) {
      await workspace.write('chaos/chaos.json', resource(spec(change)));
      // A change waits until the queues before are empty and gone, which is ten seconds where nothing else is done.
      const isThere = async () => {
        const found = await work();
        return steps.every((step) => found.includes(`${step} ${20 + change}`));
      };
      await until('the new queues are there', isThere, { timeoutMs: 90_000 });
    }
    const answers = await posting.end();
    await settled(workspace, 120_000);
    const report = judge({ answers, dead: await deadLetters(workspace), file });
    // What is published between two moves of a binding is in both queues, under one id.
    console.log(`seed ${seed}: ${report.duplicates} of ${report.accepted} were handled twice`);
    expect(report).toMatchObject({ accepted: report.posted, lost: [] });
    expect(report.duplicates).toBeLessThan(report.accepted / 20);
    expect(report.accepted).toBeGreaterThan(300);
    let seen: string[] = [];
    await until(
      'the old queues are gone',
      async () => {
        seen = await work();
        return seen.length === steps.length;
      },
      { timeoutMs: 60_000, seen: () => seen.join(', ') },
    );
    expect(seen.sort()).toEqual(steps.map((step) => `${step} ${20 + changes}`));
    expect(up.output).not.toMatch(/PRECONDITION|QueueConflict/);
    await up.interrupt();
  });
});
