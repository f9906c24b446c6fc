import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkLocalNames, type LocalSettings, mergeLocal, noLocalSettings, parseLocal, resolveMount } from './local.ts';

const here = resolve('resources');
const parse = (value: unknown) => parseLocal(value, here, () => undefined);
const settings = (some: Partial<LocalSettings>): LocalSettings => ({ ...noLocalSettings, ...some });
const command = ['python3', 'a.py', ''];

describe('parseLocal', () => {
  it('takes paths relative to the file', () => {
    const mounts = { '/models/iris': './models', '/': '../root', '/abs': '/srv' };
    expect(parse({ mounts })).toEqual({
      local: settings({ mounts: { '/models/iris': resolve(here, 'models'), '/': resolve('root'), '/abs': '/srv' } }),
      problems: [],
      files: [],
    });
    expect(parse({}).local).toEqual(noLocalSettings);
  });

  it('takes services with the folder of the file, and hosts as origins', () => {
    const services = {
      inventory: { command, cwd: 'services', env: { LEDGER: 'a b' }, fallback: { command: ['node', 'a.mjs'] } },
      'orders-shipping': { command: ['./serve'], note: 'a note' },
    };
    const hosts = {
      'api.example.com': 'https://staging.example.com/',
      stock: 'http://[::1]:80',
      b: 'http://LOCALHOST:1',
    };
    expect(parse({ services, hosts })).toEqual({
      local: settings({
        services: {
          inventory: {
            command,
            cwd: resolve(here, 'services'),
            env: { LEDGER: 'a b' },
            fallback: { command: ['node', 'a.mjs'], cwd: here, env: {} },
          },
          'orders-shipping': { command: ['./serve'], cwd: here, env: {}, note: 'a note' },
        },
        hosts: { 'api.example.com': 'https://staging.example.com', stock: 'http://[::1]', b: 'http://localhost:1' },
      }),
      problems: [],
      files: [],
    });
  });

  it.each<[string, unknown, string]>([
    [
      'unknown fields',
      { mount: {} },
      'mount: unknown field `mount`; allowed: mounts, services, hosts, secrets (did you mean mounts?)',
    ],
    ['other types', { mounts: [] }, 'mounts: found an empty list; allowed: a map'],
    ['a place that is no text', { mounts: { '/a': 1 } }, 'mounts[/a]: found 1; allowed: a string'],
    ['an empty place', { mounts: { '/a': '' } }, 'mounts[/a]: found ""; allowed: at least 1 character'],
    [
      'a command in one text',
      { services: { a: { command: 'a b' } } },
      'services.a.command: found "a b" (a string); allowed: a list',
    ],
    ['no command', { services: { a: {} } }, 'services.a.command: required, but missing'],
    ['an empty command', { services: { a: { command: [] } } }, 'found an empty list; allowed: at least 1 entry'],
    [
      'a nameless program',
      { services: { a: { command: ['', 'b'] } } },
      'services.a.command[0]: found ""; allowed: a program',
    ],
    [
      'a nameless program of a fallback',
      { services: { a: { command, fallback: { command: [''] } } } },
      'services.a.fallback.command[0]: found ""; allowed: a program',
    ],
    [
      'a fallback of a fallback',
      { services: { a: { command, fallback: { command, fallback: { command } } } } },
      'services.a.fallback.fallback: unknown field `fallback`; allowed: command, cwd, env',
    ],
    [
      'env that is no text',
      { services: { a: { command, env: { B: 1 } } } },
      'services.a.env.B: found 1; allowed: a string',
    ],
    [
      'env that has PORT',
      { services: { a: { command, env: { PORT: '1' } } } },
      'found the key "PORT"; allowed: text that',
    ],
    [
      'env with a bad name',
      { services: { a: { command, env: { '1=': '' } } } },
      'found the key "1="; allowed: text that',
    ],
    ...['', 'A', 'a_b', '-a', 'a-', '127.0.0.1', '::1', 'a..b', 'a/b', 'a:80'].flatMap((key) =>
      [{ services: { [key]: { command } } }, { hosts: { [key]: 'http://a:1' } }].map(
        (value) =>
          [`the host ${key}`, value, `found the key ${JSON.stringify(key)}; allowed: text`] as [string, object, string],
      ),
    ),
    [
      'a host in both',
      { services: { a: { command } }, hosts: { a: 'http://b:1' } },
      'hosts.a: a is one of services too: keep',
    ],
    ['an address that is no text', { hosts: { a: 80 } }, 'hosts.a: found 80; allowed: a string'],
    ...[
      'localhost:80',
      'ftp://b:1',
      'http://',
      'http://b:1/path',
      'http://b:1?q',
      'http://b:port',
      'http://b:99999',
      '',
    ].map(
      (url) =>
        [
          `the address ${url}`,
          { hosts: { a: url } },
          `hosts.a: found ${JSON.stringify(url)}; allowed: http://HOST:PORT or`,
        ] as [string, object, string],
    ),
    ...['models', '/a/', '/a/../b', '/a/.', '//a', ''].map(
      (key) =>
        [
          `the path ${key}`,
          { mounts: { [key]: 'x' } },
          `found the key ${JSON.stringify(key)}; allowed: text that matches`,
        ] as [string, unknown, string],
    ),
  ])('refuses %s', (_, value, message) => {
    const { local, problems } = parse(value);
    expect(local).toBeUndefined();
    expect(problems.map((problem) => `${problem.path}: ${problem.message}`).join('\n')).toContain(message);
  });
});

describe('parseLocal, of an address with a password', () => {
  it.each([
    'http://user:hunter2@b:1',
    'amqp://u:hunter2@b',
    'http://u:hun@ter2@b/',
    'hunter2@b',
    'http://u\n:hunter2@b',
  ])('refuses %j without showing it', (url) => {
    const { local, problems } = parse({ hosts: { a: url } });
    expect(local).toBeUndefined();
    expect(problems).toMatchObject([{ code: 'InvalidValue', path: 'hosts.a' }]);
    expect(problems[0]?.message).toMatch(/^found "…@b\/?(:1)?"; allowed: .*without user, password/);
  });
});

describe('checkLocalNames', () => {
  it('finds names that a resource has', () => {
    const makes = new Map([
      ['fraud', 'ModelDeployment fraud'],
      ['fraud-v1', 'ModelDeployment fraud'],
      ['orders-api', 'EventPipeline orders'],
    ]);
    const { local } = parse({
      services: { fraud: { command }, 'orders-shipping': { command } },
      hosts: { 'orders-api': 'http://b:1', constructor: 'http://b:1' },
    });
    expect(checkLocalNames(local as LocalSettings, makes).map(({ path, message }) => `${path}: ${message}`)).toEqual([
      'services.fraud: ModelDeployment fraud makes a Service fraud: choose another name',
      'hosts.orders-api: EventPipeline orders makes a Service orders-api: choose another name',
    ]);
  });
});

describe('mergeLocal', () => {
  it('keeps what was said first about a host', () => {
    const [a, b] = [['a'], ['b']].map((words) => ({ command: words, cwd: '/', env: {} }));
    const first = settings({ services: { one: a as never }, hosts: { two: 'http://b:1' } });
    expect(mergeLocal(first, structuredClone(first))).toEqual({ local: first, problems: [] });
    const more = settings({
      services: { one: b as never, two: b as never, three: b as never },
      hosts: { four: 'http://b:2' },
    });
    const merged = mergeLocal(first, more);
    expect(merged.local).toEqual(
      settings({ services: { one: a as never, three: b as never }, hosts: { two: 'http://b:1', four: 'http://b:2' } }),
    );
    expect(merged.problems.map(({ path }) => path)).toEqual(['services.one', 'services.two']);
    expect(mergeLocal(first, settings({ hosts: { constructor: 'http://b:1' } })).problems).toEqual([]);
    const swapped = mergeLocal(first, settings({ hosts: { one: 'http://b:1', two: 'http://b:2' } }));
    expect(swapped.local).toEqual(first);
    expect(swapped.problems.map(({ path }) => path)).toEqual(['hosts.one', 'hosts.two']);
    expect(swapped.problems[0]?.message).toBe('one is described in another way by another levada.local.yaml');
  });

  it('joins settings, and says where two disagree', () => {
    const first = settings({ mounts: { '/a': '/1', '/b': '/2' } });
    expect(mergeLocal(first, settings({ mounts: { '/b': '/2', '/c': '/3' } }))).toEqual({
      local: settings({ mounts: { '/a': '/1', '/b': '/2', '/c': '/3' } }),
      problems: [],
    });
    const { local, problems } = mergeLocal(first, settings({ mounts: { '/a': '/9' } }));
    expect(local).toEqual(first);
    expect(problems).toEqual([
      {
        code: 'LocalFileInvalid',
        path: 'mounts[/a]',
        message: '/a is mounted from /9 here, and from /1 by another levada.local.yaml',
      },
    ]);
  });
});

describe('resolveMount', () => {
  const local = { mounts: { '/models': '/home/all', '/models/iris': '/home/iris', '/models/iris/2': '/home/two' } };

  it.each([
    ['file:///models/iris/1', '/home/iris/1'],
    ['file:///models/iris', '/home/iris'],
    ['file:///models/iris/', '/home/iris'],
    ['file:///models/iris/2', '/home/two'],
    ['file:///models/iris/2/model.onnx', '/home/two/model.onnx'],
    ['file:///models/iris/20', '/home/iris/20'],
    ['file:///models/iris2/1', '/home/all/iris2/1'],
    ['file:///modelsx/1', '/modelsx/1'],
    ['file:///other/1', '/other/1'],
    ['file:///models/iris/../wine/1', '/home/all/wine/1'],
    ['file:///models/iris/%2e%2e/%2e%2e/etc/passwd', '/etc/passwd'],
    ['file:///models/iris/../../../../etc', '/etc'],
    ['file:////models//iris///1', '/home/iris/1'],
    ['file:///models/a%20b/%C3%A9', '/home/all/a b/é'],
    ['file:///models/a b', '/home/all/a b'],
  ])('%s is %s', (uri, path) => expect(resolveMount(uri, local)).toBe(path));

  it('takes the root as a mount', () => {
    expect(resolveMount('file:///models/1', { mounts: { '/': '/srv' } })).toBe('/srv/models/1');
  });

  it.each(['file:///a%2fb', 'file:///a%00', 'file:///a%zz', 's3://bucket/a', 'file://host/a', '/a'])(
    'refuses %s',
    (uri) => {
      expect(() => resolveMount(uri, local)).toThrowError(expect.objectContaining({ code: 'InvalidValue' }));
    },
  );
});
