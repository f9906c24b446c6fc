/** A minute of faults on each version; `npm run prove -- rabbitmq` takes five. */
import { expect } from 'vitest';
import { testEachVersion } from '../support/rabbitmq.ts';
import { acceptedPerSecond, chaos } from './rabbitmq.ts';

const seed = Number(process.env['LEVADA_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const seconds = Number(process.env['LEVADA_CHAOS_SECONDS'] ?? 60);

testEachVersion('nothing is lost while everything fails', { timeout: 900_000 }, async (version) => {
  const report = await chaos({ version, seconds, seed, perSecond: 60, log: (text) => console.log(text) });
  console.log(JSON.stringify({ ...report, lost: report.lost.length }));
  expect(report.accepted).toBeGreaterThan(seconds * acceptedPerSecond);
  expect(report.lost).toEqual([]);
  expect(report.repeated).toBeLessThanOrEqual(report.repeatedAtMost);
  expect(Object.keys(report.faults).sort()).toEqual(['cut', 'kill', 'restart', 'silence']);
});
