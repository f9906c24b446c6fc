import type { LookupAddress } from 'node:dns';
import { expect, test } from 'vitest';
import { guardedLookup, Resolver } from './lookup.ts';

type Answered = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void;

/** A name server that answers when told to. */
function slowResolver() {
  const asked: Array<{ name: string; answer: Answered }> = [];
  const resolver = new Resolver((name, answer) => asked.push({ name, answer }));
  return { asked, resolver };
}

const v4 = (address: string): LookupAddress => ({ address, family: 4 });

const lookup = (policy: 'Allow' | 'Deny', addresses: LookupAddress[], all = true) =>
  new Promise<unknown>((resolve) => {
    const resolver = new Resolver((_, answered) => answered(null, addresses));
    guardedLookup(resolver, policy)('name', { all }, (error, found) => resolve(error ?? found));
  });

test('a name is looked up once, for all who ask at the same time', () => {
  const { asked, resolver } = slowResolver();
  const answers: unknown[] = [];
  for (let i = 0; i < 3; i++) resolver.resolve('a', (_, found) => answers.push(found));
  expect(asked.map(({ name }) => name)).toEqual(['a']);
  asked[0]?.answer(null, [v4('10.0.0.1')]);
  expect(answers).toEqual([[v4('10.0.0.1')], [v4('10.0.0.1')], [v4('10.0.0.1')]]);
  resolver.resolve('a', () => {});
  expect(asked).toHaveLength(2);
});

test('two names at a time; the others in their order', () => {
  const { asked, resolver } = slowResolver();
  for (const name of ['a', 'b', 'c', 'd']) resolver.resolve(name, () => {});
  expect(asked.map(({ name }) => name)).toEqual(['a', 'b']);
  asked[1]?.answer(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []);
  expect(asked.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
});

test('one address of a name that is refused refuses the name', async () => {
  const found = [v4('8.8.8.8'), v4('169.254.169.254')];
  expect(await lookup('Allow', found)).toMatchObject({ network: 'metadata' });
  expect(await lookup('Deny', [v4('8.8.8.8'), { address: 'fd00::1', family: 6 }])).toMatchObject({
    network: 'private',
  });
  expect(await lookup('Allow', [v4('8.8.8.8'), v4('10.0.0.1')])).toEqual([v4('8.8.8.8'), v4('10.0.0.1')]);
});

test('gives one address to who wants one, and an error where there is none', async () => {
  expect(await lookup('Allow', [v4('8.8.8.8'), v4('8.8.4.4')], false)).toBe('8.8.8.8');
  expect(await lookup('Allow', [], false)).toMatchObject({ code: 'ENOTFOUND' });
});
