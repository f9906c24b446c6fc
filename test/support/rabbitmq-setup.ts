import type { TestProject } from 'vitest/node';
import { missingRabbit, type Rabbit, rabbitVersions, startRabbit } from '../../hack/rabbitmq.ts';
import type { TestBroker } from './rabbitmq.ts';

/** Starts a broker of each version for all test files, unless LEVADA_TEST_RABBITMQ_URL names one. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['LEVADA_TEST_RABBITMQ_URL'];
  const started: Rabbit[] = [];
  const brokers: TestBroker[] = given === undefined ? [] : [{ name: 'LEVADA_TEST_RABBITMQ_URL', uri: given }];
  if (given === undefined) {
    for (const version of rabbitVersions) {
      const missing = await missingRabbit(version);
      if (missing !== undefined) {
        // In CI nothing is left out.
        if (process.env['CI'] === 'true') throw new Error(missing);
        brokers.push({ name: version, missing });
        continue;
      }
      const rabbit = await startRabbit(version);
      started.push(rabbit);
      brokers.push({ name: version, uri: rabbit.uri, management: rabbit.management });
    }
  }
  project.provide('rabbitmq', brokers);
  return async () => {
    await Promise.all(started.map((rabbit) => rabbit.remove()));
  };
}
