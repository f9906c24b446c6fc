import { describe, expect, test } from 'vitest';
import { until } from '../../../test/support/wait.ts';
import { fanoutStep } from './fanout.ts';
import { httpServer, json, shareOf, testScope, testStep } from './testing.ts';

const { kept, serve, step } = testScope();

const closedPort = async () => {
  const server = await httpServer(() => {});
  await server.close();
  return server.url;
};

describe('results', () => {
  test('are in the order of the URLs, which are as they were given', async () => {
    const { url, port } = await serve((request, response) => {
      const delay = 30 - Number(new URL(request.url ?? '', 'http://x').searchParams.get('i')) * 10;
      setTimeout(() => json(response, { path: request.url }), delay);
    });
    const urls = [`${url}/?i=1`, `HTTP://127.1:${port}/a/../b?i=2#top`, `${url}/?i=1`, `${url}/é?i=3`];
    expect(await step().get(urls)).toEqual([
      { url: urls[0], status: 200, data: { path: '/?i=1' } },
      { url: urls[1], status: 200, data: { path: '/b?i=2' } },
      { url: urls[2], status: 200, data: { path: '/?i=1' } },
      { url: urls[3], status: 200, data: { path: '/%C3%A9?i=3' } },
    ]);
  });

  test('of failures: each is one result', async () => {
    const { url } = await serve((request, response) => {
      const status = Number(request.url?.slice(1));
      json(response, { status }, status);
    });
    const refused = await closedPort();
    const urls = ['200', '404', '500', '201'].map((status) => `${url}/${status}`);
    urls.push(refused, 'http://nowhere.invalid/', 'nonsense', 'ftp://a.test/', 'http://ann:secret@a.test/');
    const [one, notFound, failed, created, ...others] = await step().get(urls);
    expect([one, created].map((result) => result?.status)).toEqual([200, 201]);
    expect([notFound, failed]).toEqual([
      { url: urls[1], status: 'error', error: 'HTTP 404 Not Found' },
      { url: urls[2], status: 'error', error: 'HTTP 500 Internal Server Error' },
    ]);
    expect(others.map((result) => 'error' in result && result.error)).toEqual([
      'connection refused (ECONNREFUSED)',
      expect.stringMatching(/^the host does not resolve/),
      'it is not a URL',
      'the scheme is ftp; allowed: http, https',
      'a URL with user or password is not called',
    ]);
    expect(others.map(({ status, url }) => [status, url])).toEqual(urls.slice(4).map((text) => ['error', text]));
  });

  test.each([
    ['HTML', 'text/html', '{}', 'the answer is not JSON but text/html'],
    ['no type', undefined, '{}', 'the answer is not JSON but of no type'],
    ['broken JSON', 'application/json', '{"a":', expect.stringMatching(/cannot be read: it is not JSON/)],
    ['bytes that are no text', 'application/json', Buffer.from([0x22, 0xff, 0x22]), expect.stringMatching(/not UTF-8/)],
    ['deep JSON', 'application/json', '['.repeat(200), expect.stringMatching(/deeper than 128/)],
    ['an unknown charset', 'application/json; charset=x', '{}', expect.stringMatching(/it is not x/)],
  ])('%s is an error, and the connection is kept', async (_, type, body, error) => {
    const server = await serve((_, response) => {
      response.writeHead(200, type === undefined ? {} : { 'content-type': type }).end(body);
    });
    const made = step();
    for (let i = 0; i < 3; i++) {
      expect(await made.get(server.url)).toEqual([{ url: server.url, status: 'error', error }]);
    }
    expect(server.connections()).toBe(1);
  });

  test.each([
    ['a type of JSON', 'application/vnd.shop+json; charset=UTF-8', '{"a":"é"}', { a: 'é' }],
    ['an empty body', 'application/json', '', null],
    ['another charset', 'application/json; charset="ISO-8859-1"', Buffer.from('"é"', 'latin1'), 'é'],
  ])('%s is data', async (_, type, body, data) => {
    const { url } = await serve((_, response) => response.writeHead(200, { 'content-type': type }).end(body));
    expect(await step().get(url)).toEqual([{ url, status: 200, data }]);
  });

  test('of no URLs: an event all the same', async () => {
    expect(await step().run({ urls: [] })).toEqual([{ data: { results: [] } }]);
  });

  test('over IPv6', async (context) => {
    const server = await serve((_, response) => json(response, 6), '::1').catch((error: NodeJS.ErrnoException) => {
      if (process.env.CI) throw error;
      return context.skip(`no IPv6 here: ${error.code}`);
    });
    expect(await step().get(server.url)).toEqual([{ url: server.url, status: 200, data: 6 }]);
  });
});

describe('expressions', () => {
  test.each([
    [undefined, 'nothing'],
    [5, '5'],
    [{ a: 1 }, 'a map'],
    [['http://a.test/', 7], '7 at [1]'],
    [[['http://a.test/']], 'a list of 1 at [0]'],
    [Array.from({ length: 1001 }, () => 'http://ann:secret@a.test/'), 'a list of 1001'],
  ])('urls that give %j fail the step', async (urls, found) => {
    const rejected = await step()
      .run({ urls })
      .catch((error: unknown) => error);
    expect(rejected).toMatchObject({ code: 'ExpressionWrongType', params: { found } });
    expect(String(rejected)).not.toContain('secret');
  });

  test('output has the data, $results and $event', async () => {
    const { url } = await serve((_, response) => json(response, { stock: 3 }));
    const output = '{% {"order": order_id, "stock": $results[status = 200].data.stock, "type": $event.type} %}';
    const made = step({ action: { output } });
    expect(await made.run({ order_id: 'o1', urls: [url, 'nonsense'] })).toEqual([
      { data: { order: 'o1', stock: 3, type: 'order.scored' } },
    ]);
    await expect(step({ action: { output: '{% nothing %}' } }).run({ urls: [] })).rejects.toMatchObject({
      code: 'ExpressionWrongType',
    });
  });

  test('that do not parse are refused when the step is made', () => {
    expect(() => testStep({ action: { urls: '{% urls[ %}' } })).toThrow(
      expect.objectContaining({ code: 'ExpressionInvalid' }),
    );
    expect(() => testStep({ action: { output: '{% ) %}' } })).toThrow(
      expect.objectContaining({ code: 'ExpressionInvalid' }),
    );
  });
});

test('what is sent', async () => {
  const { url, port } = await serve((request, response) => json(response, [request.method, request.headers]));
  const [result] = await step().get(url, { tracestate: 'a=1' });
  expect(result).toMatchObject({
    data: [
      'GET',
      {
        ...{ accept: 'application/json', 'accept-encoding': 'identity', 'user-agent': 'levada' },
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        ...{ tracestate: 'a=1', host: `127.0.0.1:${port}` },
      },
    ],
  });
});

describe('limits', () => {
  const counting = async () => {
    let now = 0;
    const most = { value: 0 };
    const server = await serve((_, response) => {
      most.value = Math.max(most.value, ++now);
      setTimeout(() => {
        now--;
        json(response, 1);
      }, 10);
    });
    return { ...server, most };
  };

  test.each([
    ['concurrency', { concurrency: 3 }, 1000, 3],
    ['perOrigin', { perOrigin: 4 }, 1000, 4],
    ['half of what all steps of the process have', {}, 9, 5],
  ])('%s', async (_, action, inAll, limit) => {
    const { url, most, connections } = await counting();
    const made = step({ action, share: shareOf({ inAll }) });
    const results = await made.get(Array.from({ length: 20 }, (_, i) => `${url}/${i}`));
    expect(results.map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(most.value).toBe(limit);
    expect(connections()).toBe(limit);
  });

  test('perOrigin holds over events; an origin that hangs does not hold up others', async () => {
    const hanging = await serve(() => {});
    const quick = await serve((_, response) => json(response, 1));
    const made = step({ action: { perOrigin: 2, concurrency: 3, timeoutMs: 300 } });
    const urls = [...Array(4).fill(hanging.url), ...Array(4).fill(quick.url)] as string[];
    let answered = 0;
    const calls = [1, 2, 3].map(async () => {
      const results = await made.get(urls);
      answered++;
      return results;
    });
    expect(await made.get(quick.url)).toMatchObject([{ status: 200 }]);
    expect([answered, hanging.sockets.size]).toEqual([0, 2]);
    for (const results of await Promise.all(calls)) {
      expect(results.map(({ status }) => status)).toEqual([...Array(4).fill('timeout'), ...Array(4).fill(200)]);
    }
  });
});

describe('ends', () => {
  test('the signal gives up all that is under way, and leaves nothing', async () => {
    const server = await serve(() => {});
    const made = step({ action: { perOrigin: 3 } });
    const controller = new AbortController();
    const running = made.get(Array(10).fill(server.url), { signal: controller.signal });
    await until('it is under way', () => server.sockets.size === 3);
    controller.abort(new Error('drained'));
    await expect(running).rejects.toThrow('drained');
    expect(made.share.schedule.active).toBe(0);
    await until('all are closed', () => server.sockets.size === 0);
    await expect(made.get(server.url, { signal: controller.signal })).rejects.toThrow('drained');
  });

  test('closing gives up what is under way, and ends what is kept when the last step goes', async () => {
    const server = await serve((request, response) => request.url === '/' && json(response, 1));
    const share = shareOf();
    const [one, two] = [step({ share }), step({ share })];
    await one.get(server.url);
    const running = one.get(`${server.url}/hangs`);
    running.catch(() => {});
    await until('it is under way', () => share.schedule.active === 1);
    await one.close();
    await expect(running).rejects.toMatchObject({ code: 'InternalError' });
    await expect(one.get(server.url)).rejects.toMatchObject({ code: 'InternalError' });
    await two.get(server.url);
    expect(share.connections.idle).toBe(1);
    await two.close();
    await until('all are closed', () => server.sockets.size === 0 && share.connections.idle === 0);
  });

  test('the step that the runtime uses works, too', async () => {
    const { url } = await serve((_, response) => json(response, 1));
    const made = fanoutStep(
      {
        ...{ kind: 'fanout', urls: '{% url %}', concurrency: 20, perOrigin: 20, timeoutMs: 10_000, attempts: 1 },
        ...{ maxBytes: 1000, maxRedirects: 10, privateNetworks: 'Allow' },
      },
      { resolve: (url) => url },
    );
    kept(made);
    const context = {
      attempt: 1,
      idempotencyKey: 'k',
      scored: () => {},
      traceparent: 'x',
      emits: [],
      signal: AbortSignal.timeout(10_000),
    };
    const message = {
      id: '1',
      source: '/x',
      type: 't',
      extensions: {},
      data: new Uint8Array(),
      delivery: { attempt: 1 },
    };
    expect(await made.run({ message, data: { url } }, context)).toEqual([
      { data: { results: [{ url, status: 200, data: 1 }] } },
    ]);
  });
});
