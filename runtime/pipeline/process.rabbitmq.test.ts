/** Pods of a pipeline on a real broker, whose topology this test makes in the stead of the operator. */
import { randomUUID } from 'node:crypto';
import http, { Agent } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import type { ConsumerConfig, HttpSourceConfig, StepAction } from '../../api/contract/pipeline.ts';
import { unitAnswers } from '../../operator/drivers/kubernetes/unit-status.ts';
import { ask, type Broker, openRig, type Rig } from '../../test/integration/rabbitmq/harness.ts';
import { type PipelinePod, startPod } from '../../test/support/pipeline-pod.ts';
import { startProxy } from '../../test/support/proxy.ts';
import { onNewestRabbit } from '../../test/support/rabbitmq.ts';
import { Pods } from '../../test/support/routing.ts';
import { iris, post } from '../../test/support/serve.ts';
import { until } from '../../test/support/wait.ts';
import { message } from '../transports/conformance/messages.ts';

/** A handler in a container of the pod: keeps each request until it is let go. */
class Sidecar implements AsyncDisposable {
  readonly orders: number[] = [];
  /** Requests that are not answered yet. */
  readonly held = new Set<() => void>();
  holds = false;
  readonly #server = http.createServer((req, res) => {
    let text = '';
    req.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    req.on('end', () => {
      const answer = () => {
        this.held.delete(answer);
        res.writeHead(204).end();
      };
      this.orders.push((JSON.parse(text) as { n: number }).n);
      this.held.add(answer);
      if (!this.holds) answer();
    });
  });

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  letGo(): void {
    this.holds = false;
    for (const answer of [...this.held]) answer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const consumer = (pipeline: string, name: string, action: StepAction, part: object = {}): ConsumerConfig => ({
  kind: 'consumer',
  pipeline,
  name,
  action,
  emits: [],
  retry: { maxAttempts: 3, initialMs: 1_000, factor: 2, maxMs: 5_000 },
  concurrency: 4,
  ...part,
});

const changes = (pipeline: string, value: string): ConsumerConfig =>
  consumer(pipeline, 'check', { kind: 'transform', value }, { emits: [{ type: 'checked' }] });

const source = (pipeline: string): HttpSourceConfig => ({
  kind: 'http-source',
  pipeline,
  name: 'api',
  emits: { type: 'order' },
  method: 'POST',
  path: '/orders/',
  assign: {},
  response: { status: 202 },
});

const toBox: StepAction = { kind: 'http', url: 'http://orders-box/handle', timeoutMs: 60_000 };

/** The user of the pods may make nothing in the broker: others do. */
async function userOfPods(broker: Broker, { settings }: Rig): Promise<{ username: string; password: string }> {
  const user = { username: `pod-${randomUUID()}`, password: `password-${randomUUID()}` };
  await ask(broker, 'PUT', `users/${user.username}`, { password: user.password, tags: '' });
  const permissions = { configure: '^$', write: '^levada\\.', read: '^levada\\.' };
  await ask(broker, 'PUT', `permissions/${encodeURIComponent(settings.vhost)}/${user.username}`, permissions);
  return user;
}

/** A pipeline with queues of these names, which get events `order`. */
async function pipelineOf(broker: Broker, ...queues: Array<[name: string, type: string]>) {
  const rig = await openRig(broker);
  await rig.apply(...queues.map(([name, type]) => rig.queue(name, type)));
  const user = await userOfPods(broker, rig);
  const { host, port, vhost } = rig.settings;
  const secret = { host, port: String(port), vhost, ...user };
  const { pipeline } = rig;
  const topology = { pipeline, queues: queues.map(([name, type]) => rig.queue(name, type)) };
  const placement = rig.rabbit.broker.placement(pipeline);
  if (!placement) throw new Error('there are no queues');
  return { rig, pipeline, secret, where: { topology, placement } };
}

const isReady = (pod: PipelinePod) =>
  until('it is ready', async () => (await pod.ask('/readyz')).status === 200, {
    timeoutMs: 90_000,
    seen: () => pod.written,
  });

/** Clients that send without a pause, on connections that they keep, until {@link stop}. */
function load(url: string, clients: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const failures: string[] = [];
  let accepted = 0;
  let stopped = false;
  const send = () =>
    new Promise<void>((resolve) => {
      const headers = { 'content-type': 'application/json' };
      const req = http.request(url, { method: 'POST', agent, headers }, (res) => {
        if (res.statusCode === 202) accepted++;
        else failures.push(`${res.statusCode}`);
        res.on('error', (error) => failures.push(`half an answer: ${error.message}`));
        res.on('close', resolve).resume();
      });
      req.on('error', (error) => {
        failures.push(`${error.message}, ${req.reusedSocket ? 'kept' : 'new'} connection`);
        resolve();
      });
      req.end('{"n":1}');
    });
  const all = Promise.all(
    Array.from({ length: clients }, async () => {
      while (!stopped && failures.length === 0) await send();
    }),
  );
  return {
    failures,
    accepted: () => accepted,
    async stop() {
      stopped = true;
      await all;
      agent.destroy();
    },
  };
}

onNewestRabbit((broker) => {
  test('an event that a source takes comes out of the steps of other pods', async () => {
    const made = await pipelineOf(broker, ['check', 'order'], ['box', 'checked'], ['rest', 'nothing']);
    await using rig = made.rig;
    await using box = new Sidecar();
    const { pipeline, secret, where } = made;
    const check = changes(pipeline, '{% {"n": n + 1} %}');
    await using api = await startPod({ ...where, sources: [source(pipeline)] }, secret);
    await using checks = await startPod({ ...where, consumers: [check] }, secret);
    const names = { local: { 'orders-box': await box.start() }, services: {} };
    const inBox = consumer(pipeline, 'box', toBox);
    await using boxes = await startPod({ ...where, names, consumers: [inBox] }, secret);
    const pods = [api, checks, boxes];
    await Promise.all(pods.map(isReady));

    for (const n of [1, 2, 3]) expect((await post(`${api.url}/orders/`, { n })).status).toBe(202);
    await until('they have come', () => box.orders.length === 3);
    expect(box.orders.toSorted()).toEqual([2, 3, 4]);
    await until('they are counted', async () => (await boxes.status()).consumers['box']?.counts.done === 3);

    expect(await api.status()).toEqual({
      state: 'Loaded',
      draining: false,
      countedMs: expect.any(Number),
      consumers: {},
      sources: { api: { ready: true, url: `${api.url}/orders/` } },
    });
    const [name] = rig.namesOf('check');
    await until('nothing is held', async () => !(await checks.status()).consumers['check']?.held[name!]);
    const counts = { done: 3, skipped: 0, duplicate: 0, retried: 0, dead: 0 };
    expect(await checks.status()).toEqual({
      state: 'Loaded',
      draining: false,
      countedMs: expect.any(Number),
      consumers: {
        check: {
          ...{ breaker: 'Closed', running: true, held: {}, delayed: 0, trials: [] },
          counts: expect.objectContaining(counts),
        },
      },
      sources: {},
    });
    const metrics = (await boxes.ask('/metrics')).text;
    expect(metrics).toContain(`levada_step_messages_total{pipeline="${pipeline}",step="box",end="done"} 3`);
    expect(metrics).toContain(`levada_step_in_flight_messages{pipeline="${pipeline}",step="box"} 0`);
    expect(metrics).not.toContain('levada_step_backlog_messages{'); // who makes the queues counts them
    expect((await api.ask('/metrics')).text).toMatch(/levada_source_requests_total\{.*code="202".*} 3/);
    for (const pod of pods) {
      const said = await Promise.all(['/status', '/metrics', '/readyz'].map((path) => pod.ask(path)));
      const text = said.map((reply) => reply.text).join('\n') + pod.written;
      expect(text).not.toContain(secret.password);
    }
  });

  test('a step says what became of the events that the versions of a rollout have scored', async () => {
    const { rig: made, pipeline, secret, where } = await pipelineOf(broker, ['score', 'order']);
    await using rig = made;
    const models = new Pods();
    try {
      const [stable, candidate] = await Promise.all([models.start('v1', iris(1)), models.start('v2', iris(2))]);
      const share = { candidate: { version: 'v2', weight: 50 }, rollout: 'v2 then' };
      await models.tell(stable, models.table(stable, [candidate], share));
      // Version 1 says 1 of this flower, version 2 says 2.
      const output = '{% $outputs.label = 1 ? {"label": 1} : nothing %}';
      const inputs = { X: [5.9, 3.2, 4.8, 1.8] };
      const action = { kind: 'model', ref: 'm', url: 'http://m', inputs, output, timeoutMs: 60_000 } as const;
      const score = consumer(pipeline, 'score', action, { emits: [{ type: 'scored' }] });
      await using pod = await startPod(
        { ...where, names: { local: { m: stable.url }, services: {} }, consumers: [score] },
        secret,
      );
      await isReady(pod);
      await rig.publish(...Array.from({ length: 40 }, (_, n) => message(`${n}`, { data: Buffer.from('{}') })));
      await until('all have ended', async () => {
        const { counts } = (await pod.status()).consumers['score'] ?? {};
        return counts && counts.done + counts.dead === 40;
      });
      // As the operator reads it. What the candidate was late for, the stable version has answered: that is no trial.
      const trials = unitAnswers.read((await pod.ask('/status')).json, 0).consumers['score']?.trials ?? [];
      const of = (version: string) => trials.find((one) => one.version === version);
      expect(trials.map(({ rollout }) => rollout)).toEqual(['v2 then', 'v2 then']);
      expect(of('v1')?.dead).toBe(0);
      expect(of('v1')?.n).toBeGreaterThan(0);
      expect(of('v2')?.dead).toBeGreaterThan(0);
      expect(of('v2')?.n).toBe(of('v2')?.dead);
    } finally {
      await models.close();
    }
  });

  test('SIGTERM with messages in hand: they are finished, and the next pod gets all others', async () => {
    const { rig: made, pipeline, secret, where } = await pipelineOf(broker, ['box', 'order']);
    await using rig = made;
    await using box = new Sidecar();
    box.holds = true;
    const names = { local: { 'orders-box': await box.start() }, services: {} };
    const config = { ...where, names, consumers: [consumer(pipeline, 'box', toBox)] };
    await using first = await startPod(config, secret);
    await isReady(first);
    const all = Array.from({ length: 20 }, (_, n) => n);
    await rig.publish(...all.map((n) => message(`${n}`, { data: Buffer.from(JSON.stringify({ n })) })));
    await until('four are in hand', () => box.held.size === 4);

    first.process.child.kill('SIGTERM');
    await until('it is draining', async () => (await first.status()).draining);
    expect((await first.ask('/readyz')).text).toBe('draining\n');
    expect((await first.ask('/livez')).status).toBe(200);
    expect((await first.status()).consumers['box']?.running).toBe(false);
    box.letGo();
    expect(await first.process.exit()).toEqual({ code: 0, signal: null });
    expect(box.orders).toHaveLength(4);
    await rig.depthIs('box', { ready: 16 });

    await using second = await startPod(config, secret);
    await rig.depthIs('box', {});
    expect(box.orders.toSorted((a, b) => a - b)).toEqual(all);
    await until('all are done', async () => (await second.status()).consumers['box']?.counts.done === 16);
  });

  test('SIGTERM with a message in hand that does not end: it is given back when the time is over', async () => {
    const { rig: made, pipeline, secret, where } = await pipelineOf(broker, ['box', 'order']);
    await using rig = made;
    await using box = new Sidecar();
    box.holds = true;
    const names = { local: { 'orders-box': await box.start() }, services: {} };
    const config = { ...where, names, consumers: [consumer(pipeline, 'box', toBox)] };
    await using pod = await startPod(config, secret, ['--drain-timeout-ms', '100']);
    await isReady(pod);
    await rig.publish(message('1', { data: Buffer.from('{"n":1}') }));
    await until('it is in hand', () => box.held.size === 1);
    pod.process.child.kill('SIGTERM');
    expect(await pod.process.exit()).toEqual({ code: 0, signal: null });
    await rig.depthIs('box', { ready: 1 });
  });

  test('SIGTERM of a source under load: no request fails, though it is in its Service for a moment longer', async () => {
    const { rig: made, pipeline, secret, where } = await pipelineOf(broker, ['orders', 'order']);
    await using rig = made;
    const config = { ...where, sources: [source(pipeline)] };
    await using first = await startPod(config, secret);
    await using second = await startPod(config, secret);
    await Promise.all([isReady(first), isReady(second)]);
    // What kube-proxy does: it chooses for each connection, by what it has heard so far.
    let endpoint = first;
    const service = await startProxy(() => ({ host: '127.0.0.1', port: endpoint.process.serving }));
    const clients = load(`http://127.0.0.1:${service.port}/orders/`, 8);
    const more = async (what: string, count: number) => {
      const before = clients.accepted();
      await until(what, () => clients.accepted() >= before + count || clients.failures.length > 0);
    };
    await more('it has load', 100);

    first.process.child.kill('SIGTERM');
    await until('it is not ready', async () => (await first.ask('/readyz')).status === 503);
    const connections = service.accepted;
    await more('it takes requests still', 20);
    expect(service.accepted).toBeGreaterThan(connections); // each answer ends its connection
    endpoint = second;
    expect(await first.process.exit()).toEqual({ code: 0, signal: null });
    await more('the second one has taken over', 100);
    await clients.stop();
    expect(clients.failures).toEqual([]);
    await rig.depthIs('orders', { ready: clients.accepted() });
    expect((await second.status()).state).toBe('Loaded');
    await service.close();
  });

  test('a broker that is away at the start and later: Loading, saying why, and it goes on when it is back', async () => {
    const { rig: made, pipeline, secret, where } = await pipelineOf(broker, ['orders', 'order'], ['check', 'other']);
    await using rig = made;
    const proxy = await startProxy(() => rig.settings);
    proxy.refuse();
    const away = { ...secret, port: String(proxy.port) };
    const step = changes(pipeline, '{% $ %}');
    await using api = await startPod({ ...where, sources: [source(pipeline)] }, away);
    await using checks = await startPod({ ...where, consumers: [step] }, away);
    const pods = [api, checks];
    const unavailable = { state: 'Loading', failure: { code: 'BrokerUnavailable' } };
    const waits = (pod: PipelinePod) =>
      until('it says why', async () => {
        const { state, failure } = await pod.status();
        return state === unavailable.state && failure?.code === unavailable.failure.code;
      });
    for (let round = 0; round < 2; round++) {
      await Promise.all(pods.map(waits));
      for (const pod of pods) {
        expect((await pod.ask('/readyz')).text).toContain('the broker cannot be used');
        expect((await pod.ask('/livez')).status).toBe(200);
      }
      await until('it refuses', async () => (await post(`${api.url}/orders/`, {})).error === 'BrokerUnavailable');
      proxy.heal();
      await Promise.all(pods.map(isReady));
      await rig.publish(message(`${round}`, { type: 'other' }));
      await until('it is done', async () => (await checks.status()).consumers['check']?.counts.done === round + 1);
      expect((await post(`${api.url}/orders/`, {})).status).toBe(202);
      proxy.refuse();
      proxy.cut();
    }
    await proxy.close();
  });

  test('a wrong password: Failed, saying so, until the broker takes it', async () => {
    const { rig: made, pipeline, secret, where } = await pipelineOf(broker, ['check', 'order']);
    await using rig = made;
    const password = `other-${randomUUID()}`;
    const step = changes(pipeline, '{% $ %}');
    await using pod = await startPod({ ...where, consumers: [step] }, { ...secret, password });
    await until('it is refused', async () => (await pod.status()).failure?.code === 'BrokerRefused');
    expect((await pod.status()).state).toBe('Failed');
    const ready = await pod.ask('/readyz');
    expect([ready.status, ready.text]).toEqual([503, expect.stringContaining('the broker refuses the connection')]);
    expect((await pod.ask('/livez')).status).toBe(200);
    const said = (await pod.ask('/status')).text + pod.written;
    expect(said).not.toContain(password);
    await ask(broker, 'PUT', `users/${secret.username}`, { password, tags: '' });
    await isReady(pod);
    await rig.publish(message('1'));
    await until('it is done', async () => (await pod.status()).consumers['check']?.counts.done === 1);
  });

  test('a queue that is gone: said and counted, and taken from as soon as it is there again', async () => {
    const { rig: made, pipeline, secret, where } = await pipelineOf(broker, ['check', 'order']);
    await using rig = made;
    const step = changes(pipeline, '{% $ %}');
    await using pod = await startPod({ ...where, consumers: [step] }, secret);
    await isReady(pod);
    expect(await pod.status()).not.toHaveProperty('missing');
    const [name] = rig.namesOf('check');
    const vhost = encodeURIComponent(rig.settings.vhost);
    await ask({ ...broker, settings: rig.settings }, 'DELETE', `queues/${vhost}/${encodeURIComponent(name!)}`);
    await until('it is counted', async () => ((await pod.status()).missing ?? 0) > 0);
    expect(await pod.status()).toMatchObject({
      state: 'Loading',
      failure: { code: 'QueueNotFound', message: expect.stringContaining(name!) },
      consumers: { check: { running: false } },
    });
    await rig.rabbit.broker.mend(pipeline);
    await isReady(pod);
    await rig.publish(message('1'));
    await until('it is done', async () => (await pod.status()).consumers['check']?.counts.done === 1);
  });
});
