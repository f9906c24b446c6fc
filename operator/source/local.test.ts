import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { mergeLocal, parseLocal, resolveMount } from './local.ts';

const here = resolve('resources');
const parse = (value: unknown) => parseLocal(value, here, () => undefined);

describe('parseLocal', () => {
  it('takes paths relative to the file', () => {
    const mounts = { '/models/iris': './models', '/': '../root', '/abs': '/srv' };
    expect(parse({ mounts })).toEqual({
      local: { mounts: { '/models/iris': resolve(here, 'models'), '/': resolve('root'), '/abs': '/srv' } },
      problems: [],
    });
    expect(parse({}).local).toEqual({ mounts: {} });
  });

  it.each<[string, unknown, string]>([
    ['unknown fields', { mount: {} }, 'mount: unknown field `mount`; allowed: mounts (did you mean mounts?)'],
    ['other types', { mounts: [] }, 'mounts: found an empty list; allowed: a map'],
    ['a place that is no text', { mounts: { '/a': 1 } }, 'mounts[/a]: found 1; allowed: a string'],
    ['an empty place', { mounts: { '/a': '' } }, 'mounts[/a]: found ""; allowed: at least 1 character'],
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

describe('mergeLocal', () => {
  it('joins settings, and says where two disagree', () => {
    const first = { mounts: { '/a': '/1', '/b': '/2' } };
    expect(mergeLocal(first, { mounts: { '/b': '/2', '/c': '/3' } })).toEqual({
      local: { mounts: { '/a': '/1', '/b': '/2', '/c': '/3' } },
      problems: [],
    });
    const { local, problems } = mergeLocal(first, { mounts: { '/a': '/9' } });
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
