import { once } from 'node:events';
import http from 'node:http';
import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { rawConnection } from '../../test/support/serve.ts';
import { until } from '../../test/support/wait.ts';
import { gate, post, type Running, run, sourceConfig } from './testing.ts';

/** Clients that each send one request after the other on a connection that is kept, until they are told to stop. */
function load({ source }: Running, clients: number) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: clients });
  const create = agent.createConnection.bind(agent);
  let connections = 0;
  agent.createConnection = (...args) => {
    connections++;
    return create(...args);
  };
  const answers: { status: number; id: unknown }[] = [];
  const failures: unknown[] = [];
  let stopped = false;
  let sent = 0;
  const client = async () => {
    while (!stopped) {
      sent++;
      try {
        const url = `http://127.0.0.1:${source.port}/orders/`;
        const { status, headers } = await post(url, { n: sent }, { agent });
        answers.push({ status, id: headers['x-levada-event-id'] });
      } catch (error) {
        failures.push(error);
        if (stopped || (error as NodeJS.ErrnoException).code === 'ECONNREFUSED') return;
      }
    }
  };
  const done = Promise.all(Array.from({ length: clients }, client));
  return {
    answers,
    failures,
    connections: () => connections,
    async stop() {
      stopped = true;
      await done;
      agent.destroy();
    },
  };
}

describe('start', () => {
  test('a port that is taken is named, with what it was for', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    await expect(run({}, { port })).rejects.toMatchObject({
      code: 'PortBusy',
      params: { port, service: 'orders-api', detail: expect.stringContaining('EADDRINUSE') },
    });
    other.close();
  });

  test.each([
    ['ExpressionInvalid', { assign: { a: '{% ( %}' } }],
    ['ExpressionInvalid', { response: { status: 202, body: ['{% ) %}'] } }],
    ['SchemaInvalid', { emits: { type: 'order.created', schema: { type: 'objekt' } } }],
  ])('%s: nothing listens', async (code, config) => {
    await expect(run(config)).rejects.toMatchObject({ code });
  });

  test('a port may be used again as soon as the source is closed', async () => {
    const first = await run();
    const { port } = first.source;
    expect((await post(first.url, {})).status).toBe(202);
    await first.source.close();
    await using again = await run({}, { port });
    expect(again.source.port).toBe(port);
    expect((await post(again.url, {})).status).toBe(202);
  });
});

describe('a live edit', () => {
  test('changes everything but the socket, and keeps the connection', async () => {
    await using source = await run();
    const client = await rawConnection(source.source.port);
    const send = (method: string, path: string) =>
      client.socket.write(`${method} ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}`);
    send('POST', '/orders/');
    await client.until((text) => text.includes('HTTP/1.1 202'));
    const { port } = source.source;
    await source.source.update(
      sourceConfig({
        path: '/bestellungen',
        method: 'PUT',
        assign: { a: 1 },
        response: { status: 201, body: '{% a %}' },
        emits: { type: 'order.new' },
      }),
    );
    expect(source.source.port).toBe(port);
    send('PUT', '/bestellungen');
    expect(await client.until((text) => text.includes('HTTP/1.1 201'))).toMatch(/\r\n\r\n1$/);
    expect(source.published.map(({ type }) => type)).toEqual(['order.created', 'order.new']);
    expect((await post(source.url, {})).json.error.message).toContain('allowed: PUT /bestellungen');
    client.socket.destroy();
  });

  test('with a mistake changes nothing, and does not stand in the way of the next one', async () => {
    await using source = await run();
    await expect(source.source.update(sourceConfig({ assign: { a: '{% ( %}' } }))).rejects.toMatchObject({
      code: 'ExpressionInvalid',
    });
    expect((await post(source.url, {})).status).toBe(202);
    await source.source.update(sourceConfig({ response: { status: 200 } }));
    expect((await post(source.url, {})).status).toBe(200);
  });

  test('of several the last one counts', async () => {
    await using source = await run();
    const updates = [200, 201, 203].map((status) => source.source.update(sourceConfig({ response: { status } })));
    await Promise.all(updates);
    expect((await post(source.url, {})).status).toBe(203);
  });

  test('requests in flight finish under the configuration that they began with', async () => {
    const door = gate();
    const types: string[] = [];
    await using source = await run(
      {},
      {
        publish: (_pipeline, [message]) => {
          types.push(message!.type);
          return door.wait();
        },
      },
    );
    const client = await rawConnection(source.source.port);
    client.socket.write('POST /orders/ HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{');
    const published = post(source.url, {});
    await until('one is being published', () => door.waiting() === 1);
    await source.source.update(sourceConfig({ path: '/new', emits: { type: 'order.new' }, response: { status: 200 } }));
    client.socket.write('}');
    await until('both are being published', () => door.waiting() === 2);
    door.open();
    expect((await published).status).toBe(202);
    expect(await client.until((text) => text.includes('\r\n\r\n'))).toMatch(/^HTTP\/1.1 202 /);
    expect(types).toEqual(['order.created', 'order.created']);
    client.socket.destroy();
  });

  test('fifty of them under load: no request fails, no connection is dropped, every answer is of one of them', async () => {
    await using source = await run();
    const clients = load(source, 8);
    const bodies = new Set<number>();
    for (let edit = 0; edit < 50; edit++) {
      const before = clients.answers.length;
      const status = 200 + (edit % 4);
      bodies.add(status);
      await source.source.update(sourceConfig({ assign: { edit }, response: { status } }));
      await until('some more are answered', () => clients.answers.length > before + 8);
    }
    expect(clients.connections()).toBe(8);
    await clients.stop();
    expect(clients.failures).toEqual([]);
    const ids = source.published.map(({ id }) => id);
    expect(new Set(clients.answers.map(({ id }) => id))).toEqual(new Set(ids));
    expect(clients.answers).toHaveLength(ids.length);
    for (const { status } of clients.answers) expect([...bodies, 202]).toContain(status);
    const edits = source.published.map(
      ({ data }) => (JSON.parse(Buffer.from(data).toString()) as { edit?: number }).edit,
    );
    expect(new Set(edits.filter((edit) => edit !== undefined)).size).toBe(50);
  });
});

const raw = (body: string) => `POST /orders/ HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

describe('a source whose place another process takes', () => {
  test('takes events as before, and ends each connection with its next answer', async () => {
    await using source = await run();
    const kept = await rawConnection(source.source.port);
    kept.socket.write(raw('{}'));
    expect(await kept.until((text) => text.endsWith('}'))).toMatch(/^HTTP\/1.1 202 [\s\S]*connection: keep-alive/i);
    source.source.retire();
    kept.socket.write(raw('{}'));
    expect(await kept.ended()).toMatch(/connection: keep-alive[\s\S]*HTTP\/1.1 202 [\s\S]*connection: close/i);
    const { status, headers } = await post(source.url, {});
    expect([status, headers['connection']]).toEqual([202, 'close']);
    expect(source.published).toHaveLength(3);
  });

  test('refuses nothing that has begun when it is drained, and accepts nothing more', async () => {
    const source = await run();
    source.source.retire();
    const late = await rawConnection(source.source.port);
    late.socket.write('POST /orders/ HT');
    expect((await post(source.url, 'x')).status).toBe(400); // whatever was sent before has been read by now
    const drained = source.source.drain();
    await expect(post(source.url, {})).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    late.socket.write('TP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}');
    expect(await late.ended()).toMatch(/^HTTP\/1.1 202 [\s\S]*connection: close/i);
    await drained;
    expect(source.published).toHaveLength(1);
  });
});

describe('a drain', () => {
  test('finishes what is in hand, closes what is idle, and refuses what comes', async () => {
    const door = gate();
    const source = await run({}, { publish: () => door.wait() });
    const { port } = source.source;
    const [silent, busy, half] = [await rawConnection(port), await rawConnection(port), await rawConnection(port)];
    const idle = await rawConnection(port);
    idle.socket.write(raw('x'));
    await idle.until((text) => text.includes('HTTP/1.1 400'));
    busy.socket.write(raw('{}'));
    half.socket.write(raw('{}').slice(0, -1));
    await until('one is being published', () => door.waiting() === 1);
    const drained = source.source.drain();
    await Promise.all([silent.ended(), idle.ended()]); // at once
    expect(silent.text()).toBe('');
    await expect(post(source.url, {})).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    busy.socket.write(raw('{"late": true}'));
    half.socket.write('}');
    await until('the one that had begun is being published', () => door.waiting() === 2);
    door.open();
    expect(await half.ended()).toMatch(/^HTTP\/1.1 202 [\s\S]*connection: close/i);
    expect((await busy.ended()).match(/HTTP\/1.1 \d+/g)?.[0]).toBe('HTTP/1.1 202');
    await drained;
    expect(door.waiting()).toBe(2);
    expect(source.logged).toEqual([]);
  });

  test('a request on a connection that is still open gets 503', async () => {
    const door = gate();
    const source = await run({}, { publish: () => door.wait() });
    const client = await rawConnection(source.source.port);
    client.socket.write(raw('{}').slice(0, -1));
    await until('its headers are there', () => client.socket.bytesWritten > 0);
    const other = await rawConnection(source.source.port);
    other.socket.write(raw('{}'));
    await until('one is being published', () => door.waiting() === 1);
    // Headers that have begun keep their connection; they end after the drain has begun.
    const late = await rawConnection(source.source.port);
    late.socket.write('POST /orders/ HT');
    await new Promise<void>((resolve) => setImmediate(resolve));
    const probe = post(source.url, 'x'); // whatever was sent before has been read when this is answered
    expect((await probe).status).toBe(400);
    const drained = source.source.drain();
    late.socket.write('TP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}');
    const text = await late.ended();
    expect(text).toMatch(/^HTTP\/1.1 503 [\s\S]*x-levada-error: SourceUnavailable/i);
    expect(text).toMatch(/connection: close/i);
    expect(text).toMatch(/retry-after: 1/i);
    client.socket.destroy();
    door.open();
    await drained;
    expect(await other.ended()).toMatch(/^HTTP\/1.1 202 /);
  });

  test('under load loses no request that was accepted, and takes none that was not', async () => {
    const source = await run();
    const clients = load(source, 16);
    await until('there is load', () => clients.answers.length > 300);
    await source.source.drain();
    await clients.stop();
    const accepted = clients.answers.filter(({ status }) => status === 202).map(({ id }) => id);
    const published = source.published.map(({ id }) => id);
    expect(accepted.length).toBeGreaterThan(300);
    expect(new Set(accepted)).toEqual(new Set(published));
    for (const { status } of clients.answers) expect([202, 503]).toContain(status);
  });

  test('is bounded: what hangs is cut', async () => {
    const door = gate();
    const source = await run({}, { publish: () => door.wait() });
    const hanging = post(source.url, {}).catch((error: NodeJS.ErrnoException) => error.code);
    await until('it is being published', () => door.waiting() === 1);
    await source.source.drain(50);
    expect(await hanging).toBe('ECONNRESET');
    expect(source.logged).toEqual([{ pipeline: 'default/orders', source: 'api', ms: 50 }]);
    door.open();
  });

  test('waits for a message whose client has gone', async () => {
    const door = gate();
    const source = await run({}, { publish: () => door.wait() });
    const client = await rawConnection(source.source.port);
    client.socket.write(raw('{}'));
    await until('it is being published', () => door.waiting() === 1);
    client.socket.destroy();
    let over = false;
    const drained = source.source.drain().then(() => {
      over = true;
    });
    await expect(post(source.url, {})).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(over).toBe(false);
    door.open();
    await drained;
    expect(source.logged).toEqual([]);
  });

  test('may be asked for twice', async () => {
    const source = await run();
    await Promise.all([source.source.drain(), source.source.close(), source.source.drain()]);
    await source.source.close();
  });
});
