import { describe, expect, it } from 'vitest';
import type { BrokerState } from '../../../api/contract/pipeline.ts';
import { parseResource } from '../../source/parse.ts';
import { planPipeline } from './plan.ts';
import { alone, noon, orders, running, source, step } from './testing.ts';

const resource = orders({
  sources: [source(), { name: 'old', emits: 'order.old', queue: { name: 'Orders' } }],
  steps: [step('check'), step('pack')],
});
const statusOf = (broker: BrokerState | undefined, of = resource) =>
  planPipeline(of, running(resource, {}, broker && { broker }), alone, noon).status;
/** `Status Reason: message` by type. */
const told = (broker: BrokerState | undefined, of = resource): Record<string, string> =>
  Object.fromEntries(
    statusOf(broker, of).conditions.map(({ type, status, reason, message }) => [
      type,
      `${status} ${reason}: ${message}`,
    ]),
  );

const away = { code: 'BrokerUnavailable', message: 'connect ECONNREFUSED' };
const refused = { code: 'BrokerRefused', message: 'the broker refuses the connection: no such user' };
const conflict = { code: 'QueueConflict', message: 'the broker has a queue already' };
const required = { code: 'BrokerRequired', message: 'the source old needs a broker, and there is none' };
const unknownCode = { code: 'SomethingElse', message: 'odd' };

interface Case {
  broker: BrokerState | undefined;
  /** Beginnings. */
  connected: string;
  topology: string;
  ready: string;
  also: 'Reconciling' | 'Stalled' | 'neither';
}

const runs = 'True Running: ';
const cases: Record<string, Case> = {
  'nothing is known yet': {
    broker: undefined,
    connected: 'Unknown Progressing: ',
    topology: 'Unknown Progressing: ',
    ready: runs,
    also: 'neither',
  },
  memory: {
    broker: { kind: 'memory' },
    connected: 'True Memory: ',
    topology: 'True Memory: ',
    ready: runs,
    also: 'neither',
  },
  'RabbitMQ, with policies': {
    broker: { kind: 'rabbitmq', version: '4.3.0', settings: 'Policies' },
    connected: 'True Connected: Connected to RabbitMQ 4.3.0',
    topology: 'True Declared: Queues and bindings are as they should be. Policies hold',
    ready: runs,
    also: 'neither',
  },
  'RabbitMQ, whose user may set no policies': {
    broker: { kind: 'rabbitmq', version: '3.10.8', settings: 'Arguments' },
    connected: 'True Connected: Connected to RabbitMQ 3.10.8',
    topology: 'True Declared: Queues and bindings are as they should be. The user may set no policies',
    ready: runs,
    also: 'neither',
  },
  'it takes no messages for now': {
    broker: {
      kind: 'rabbitmq',
      version: '4.3.0',
      settings: 'Policies',
      blocked: { code: 'BrokerFull', message: 'the broker takes no messages: low on disk' },
    },
    connected: 'True BrokerFull: the broker takes no messages: low on disk. ',
    topology: 'True Declared: Queues and bindings are as they should be. Policies hold',
    ready: runs,
    also: 'neither',
  },
  'an exchange was gone': {
    broker: {
      kind: 'rabbitmq',
      version: '4.3.0',
      mended: { at: '2030-01-01T12:00:00.000Z', what: ['exchange levada.retry', 'queue levada.delay.1000'] },
    },
    connected: 'True Connected: ',
    topology:
      'True Declared: Queues and bindings are as they should be. At 2030-01-01T12:00:00.000Z there was no exchange levada.retry, no queue levada.delay.1000: made anew, and what came meanwhile may be lost.',
    ready: runs,
    also: 'neither',
  },
  'it cannot be reached': {
    broker: { kind: 'rabbitmq', connection: away },
    connected: 'False BrokerUnavailable: connect ECONNREFUSED. ',
    topology: 'Unknown BrokerUnavailable: ',
    ready: 'False BrokerUnavailable: connect ECONNREFUSED. ',
    also: 'Reconciling',
  },
  'it refuses the user, which somebody may mend meanwhile': {
    broker: { kind: 'rabbitmq', connection: refused },
    connected: 'False BrokerRefused: ',
    topology: 'Unknown BrokerRefused: ',
    ready: 'False BrokerRefused: the broker refuses the connection: no such user. Correct user',
    also: 'Reconciling',
  },
  'a queue is in the way': {
    broker: { kind: 'rabbitmq', version: '4.3.0', topology: conflict },
    connected: 'True Connected: ',
    topology: 'False QueueConflict: ',
    ready: 'False QueueConflict: the broker has a queue already. Somebody else made it.',
    also: 'Reconciling',
  },
  'there is no connection any more, and the queues were not right before': {
    broker: { kind: 'rabbitmq', connection: away, topology: conflict },
    connected: 'False BrokerUnavailable: ',
    topology: 'False QueueConflict: ',
    ready: 'False BrokerUnavailable: ',
    also: 'Reconciling',
  },
  'a queue source, and no broker': {
    broker: { kind: 'memory', topology: required },
    connected: 'True Memory: ',
    topology: 'False BrokerRequired: the source old needs a broker',
    ready: 'False BrokerRequired: the source old needs a broker, and there is none. Name its Secret in',
    also: 'Stalled',
  },
  'a queue source, no broker, and nothing runs': {
    broker: { kind: 'memory', connection: required },
    connected: 'False BrokerRequired: the source old needs a broker',
    topology: 'Unknown BrokerRequired: ',
    ready: 'False BrokerRequired: the source old needs a broker',
    also: 'Stalled',
  },
  'a failure of a code that nobody knows': {
    broker: { kind: 'rabbitmq', connection: unknownCode },
    connected: 'False SomethingElse: odd.',
    topology: 'Unknown SomethingElse: ',
    ready: 'False SomethingElse: odd.',
    also: 'Reconciling',
  },
};

describe('the status of a broker', () => {
  it.each(Object.entries(cases))('%s', (_, { broker, connected, topology, ready, also }) => {
    const said = told(broker);
    expect(said.BrokerConnected?.slice(0, connected.length)).toBe(connected);
    expect(said.TopologyReady?.slice(0, topology.length)).toBe(topology);
    expect(said.Ready?.slice(0, ready.length)).toBe(ready);
    const progress = ['Reconciling', 'Stalled'].filter((type) => said[type]?.startsWith('True'));
    expect(progress).toEqual(also === 'neither' ? [] : [also]);
    expect(said.Accepted).toMatch(/^True/);
  });

  it.each(Object.entries(cases))('%s: the status is one that the API server takes', (_, { broker }) => {
    expect(parseResource({ ...resource, status: statusOf(broker) }).problems).toEqual([]);
  });

  it('is said of a pipeline that is not accepted as well; what is wrong with the pipeline comes first', () => {
    const bad = orders({ steps: [step('check', { when: '(' })] });
    const said = told({ kind: 'rabbitmq', connection: away }, bad);
    expect(said.BrokerConnected).toMatch(/^False BrokerUnavailable/);
    expect(said.Ready).toMatch(/^False ExpressionInvalid/);
    expect(said.Stalled).toMatch(/^True ExpressionInvalid/);
  });

  it('comes before what its absence does to steps', () => {
    const observed = running(
      resource,
      { pack: { breaker: 'Open', message: 'no broker' } },
      { broker: { kind: 'rabbitmq', connection: away } },
    );
    const ready = planPipeline(resource, observed, alone, noon).status.conditions.find(({ type }) => type === 'Ready');
    expect(ready?.reason).toBe('BrokerUnavailable');
  });

  it('has kind, version and where settings are', () => {
    expect(statusOf(undefined).broker).toBeUndefined();
    expect(statusOf({ kind: 'memory' }).broker).toEqual({ kind: 'memory' });
    expect(statusOf({ kind: 'rabbitmq', version: '4.3.0', settings: 'Policies', topology: conflict }).broker).toEqual({
      kind: 'rabbitmq',
      version: '4.3.0',
      settings: 'Policies',
    });
  });

  it('stays small enough for the API server, whatever a broker says', () => {
    const failure = { code: 'BrokerRefused', message: 'm'.repeat(5000) };
    const status = statusOf({ kind: 'rabbitmq', version: 'v'.repeat(100), connection: failure, topology: failure });
    expect(parseResource({ ...resource, status }).problems).toEqual([]);
  });
});

describe('what was lost', () => {
  const lostAt = '2030-01-01T11:00:00.000Z';
  const plan = (queues: Parameters<typeof running>[1]) =>
    planPipeline(resource, running(resource, queues), alone, noon).status;

  it('is said of steps and of sources, with the time, and ends nothing', () => {
    const status = plan({ check: { lostAt }, old: { lostAt } });
    const message = `Its queue was gone at ${lostAt}: what it had held is lost.`;
    expect(status.steps).toEqual([
      expect.objectContaining({ name: 'check', state: 'Running', message, lostAt }),
      expect.not.objectContaining({ lostAt: expect.anything() }),
    ]);
    expect(status.sources).toEqual([
      { name: 'api', ready: true, url: 'http://localhost:8080/orders/' },
      { name: 'old', ready: true, message, lostAt },
    ]);
    expect(status.conditions.find(({ type }) => type === 'Ready')?.status).toBe('True');
    expect(parseResource({ ...resource, status }).problems).toEqual([]);
  });

  it('leaves room for why a step waits', () => {
    const status = plan({ check: { lostAt, breaker: 'Open', message: 'http://check refused' }, pack: { lostAt } });
    expect(status.steps[0]).toMatchObject({ message: 'http://check refused', lostAt });
  });

  it('is not why a step waits', () => {
    const ready = plan({ check: { lostAt, breaker: 'Open' } }).conditions.find(({ type }) => type === 'Ready');
    expect(ready?.message).toBe('Step check takes no messages: its handler is not there');
  });
});
