import { expect, test } from 'vitest';
import { parseOptions, select, UsageError } from './options.ts';

test('full and quick lengths', () => {
  expect(parseOptions(['inference']).options).toMatchObject({
    rounds: 5,
    seconds: 10,
    warmUpSeconds: 2,
    coldStarts: 20,
  });
  expect(parseOptions(['inference', '--quick']).options).toMatchObject({ rounds: 2, seconds: 2, coldStarts: 5 });
  expect(parseOptions(['soak', '--minutes', '3', '--seed', '7']).options).toMatchObject({ minutes: 3, seed: 7 });
});

test.each([[[]], [['a', 'b']], [['a', '--rounds', '0']], [['a', '--seconds', 'x']], [['a', '--nonsense']]])(
  'refuses %j',
  (argv) => expect(() => parseOptions(argv)).toThrow(UsageError),
);

test('--only narrows the lists that it names', () => {
  expect(select([], ['a', 'b'], ['p'])).toEqual([['a', 'b'], ['p']]);
  expect(select(['b'], ['a', 'b'], ['p', 'q'])).toEqual([['b'], ['p', 'q']]);
  expect(select(['q', 'a'], ['a', 'b'], ['p', 'q'])).toEqual([['a'], ['q']]);
  expect(() => select(['z'], ['a'], ['p'])).toThrow('found z; allowed: a, p');
});
