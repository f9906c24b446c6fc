import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { EventPipeline, EventPipelineStatus } from '../../../api/v1alpha1/event-pipeline.ts';
import type { Observed, PipelinePlan, PlanResult } from '../units.ts';
import { checkPipeline } from './check.ts';
import { planParts } from './parts.ts';
import { planPipeline } from './plan.ts';
import { alone, later, noon, orders, queue, source, step } from './testing.ts';

/** Somebody else's queue. */
const foreign = 'Orders';
/** Name of the source that may adopt it. */
const adopter = 'old';
const types = ['a', 'b', 'c', 'd'];
const type = fc.constantFrom(...types);
const names = ['one', 'two', 'three', 'four'];
const typeList = (minLength: number) => fc.uniqueArray(type, { minLength, maxLength: 3 });
const stepPart = fc.record({
  name: fc.constantFrom(...names),
  consumes: typeList(1),
  emits: typeList(0),
  concurrency: fc.constantFrom(1, 2),
  kind: fc.constantFrom('http', 'container', 'publish'),
});
/** Pipelines of the right form; most refer to types that nobody emits, or go round in circles. */
const spec = fc
  .record({
    emits: typeList(1),
    isAdopted: fc.boolean(),
    steps: fc.uniqueArray(stepPart, { minLength: 1, maxLength: 4, selector: ({ name }) => name }),
  })
  .map(({ emits, isAdopted, steps }) => ({
    sources: emits.map((emitted) => ({
      name: `from-${emitted}`,
      emits: emitted,
      ...(isAdopted ? { queue: { name: foreign } } : { http: { path: '/' } }),
    })),
    steps: steps.map(({ name, kind, ...part }) => {
      if (kind === 'publish') return step(name, { ...part, emits: [], publish: { queue: name } });
      return step(name, { ...part, ...(kind === 'container' && { container: { image: name } }) });
    }),
  }));
/** Accepted ones. Steps consume types of lower letters than they emit. */
const validSpec = fc
  .record({
    adopts: fc.boolean(),
    steps: fc.uniqueArray(
      fc.record({ name: fc.constantFrom(...names), from: fc.nat(1), concurrency: fc.constantFrom(1, 2) }),
      { minLength: 1, selector: ({ name }) => name },
    ),
  })
  .map(({ adopts, steps }) => ({
    sources: [
      source({ name: 'api', emits: 'a' }),
      ...(adopts ? [{ name: adopter, emits: 'a', queue: { name: foreign } }] : []),
    ],
    steps: steps.map(({ name, from, concurrency }, index) => {
      const before = ['a', ...steps.slice(0, index).map(({ name: other }) => `${other}.done`)];
      return step(name, { consumes: before.slice(-1 - from), emits: [`${name}.done`], concurrency });
    }),
  }));

it('takes no pipeline in which an event comes from nowhere, or never ends', () => {
  let taken = 0;
  fc.assert(
    fc.property(spec, (candidate) => {
      const resource = orders(candidate);
      if (checkPipeline(resource, alone).length > 0) return;
      taken += 1;
      const { topology, sources, consumers } = planParts(resource);
      const emitted = (emitter: { emits: ReadonlyArray<{ type: string }> }) => emitter.emits.map((entry) => entry.type);
      const produced = [...sources.map(({ emits }) => emits.type), ...consumers.flatMap(emitted)];
      for (const { bindings, adopts } of topology.queues) {
        expect(bindings.length > 0).toBe(adopts === undefined);
        for (const binding of bindings) expect(produced).toContain(binding.type);
      }
      // What goes round never runs out of queues to reach.
      const adopting = consumers.filter(({ action }) => action.kind === 'adopt');
      let reached = new Set([...sources.map(({ emits }) => emits.type), ...adopting.flatMap(emitted)]);
      for (let hops = 0; reached.size > 0; hops++) {
        expect(hops).toBeLessThanOrEqual(topology.queues.length);
        const next = topology.queues.filter(({ bindings }) => bindings.some((binding) => reached.has(binding.type)));
        reached = new Set(consumers.filter(({ name }) => next.some((entry) => entry.name === name)).flatMap(emitted));
      }
    }),
    { numRuns: 3_000 },
  );
  expect(taken).toBeGreaterThan(100);
});

/** What a driver and a broker do: queues by name, with what they hold. */
class World {
  applied: PipelinePlan | undefined;
  /** As the broker has it: what is applied while it is away waits for it. */
  topology: PipelinePlan['topology'] | undefined;
  isAway = false;
  /** Messages in somebody else's queue. */
  foreign = 0;
  readonly queues = new Map<string, { waiting: number; dead: number }>();

  get observed(): Observed {
    if (!this.applied) return { units: {}, fronts: {} };
    const { consumers, sources } = this.applied;
    const isConsumed = (name: string) => consumers.some((consumer) => consumer.name === name);
    const broker = { kind: 'rabbitmq', ...(this.isAway && { connection: away }) } as const;
    const queues = [...(this.isAway ? [] : this.queues)].map(([name, { waiting, dead }]) => [
      name,
      queue({ dead, waiting: waiting + (this.adopts(name) ? this.foreign : 0), running: isConsumed(name) }),
    ]);
    return {
      units: {},
      fronts: {},
      pipeline: {
        applied: this.applied,
        sources: Object.fromEntries(sources.map(({ name }) => [name, { ready: true }])),
        queues: Object.fromEntries(queues),
        broker,
      },
    };
  }

  adopts(name: string): boolean {
    return this.topology?.queues.some((entry) => entry.name === name && entry.adopts !== undefined) ?? false;
  }

  apply(plan: PipelinePlan | undefined): void {
    if (!plan) return;
    this.applied = plan;
    if (this.isAway) return;
    this.topology = plan.topology;
    const listed = plan.topology.queues.map(({ name }) => name);
    for (const name of listed) if (!this.queues.has(name)) this.queues.set(name, { waiting: 0, dead: 0 });
    for (const [name, { waiting, dead }] of this.queues) {
      if (listed.includes(name)) continue;
      expect({ name, waiting, dead }, 'a queue that holds something stays').toEqual({ name, waiting: 0, dead: 0 });
      this.queues.delete(name);
    }
    for (const name of listed) {
      const handled = plan.consumers.some((consumer) => consumer.name === name);
      if ((this.queues.get(name)?.waiting ?? 0) > 0) expect(handled, `${name} has a consumer`).toBe(true);
    }
  }

  /** The broker is there again: before anybody has told it what is wanted now, messages come. */
  comeBack(meanwhile: readonly string[]): void {
    this.isAway = false;
    for (const type of meanwhile) this.publish(type);
    this.apply(this.applied);
  }

  publish(published: string): void {
    if (this.isAway) return;
    for (const { name, bindings } of this.topology?.queues ?? []) {
      const held = this.queues.get(name);
      if (held && bindings.some((binding) => binding.type === published)) held.waiting += 1;
    }
  }

  /** A message is put off, or ends: as a dead letter, or as done, and what it emits is published. */
  handle(name: string, end: 'done' | 'dead' | 'retry'): void {
    const held = this.queues.get(name);
    const consumer = this.applied?.consumers.find((entry) => entry.name === name);
    if (!held || !consumer || this.isAway) return;
    if (held.waiting > 0) held.waiting -= 1;
    else if (this.adopts(name) && this.foreign > 0) this.foreign -= 1;
    else return;
    if (end === 'dead') held.dead += 1;
    else if (end === 'retry') held.waiting += 1;
    else for (const emitted of consumer.emits) this.publish(emitted.type);
  }

  dropDead(): void {
    for (const held of this.queues.values()) held.dead = 0;
  }
}

const away = { code: 'BrokerUnavailable', message: 'connect ECONNREFUSED' };
/** Instead of a type: a message comes into somebody else's queue, and is put off. */
const putOff = '(put off)';
const published = fc.constantFrom('a', ...names.map((name) => `${name}.done`), ...types);
const happening = fc.oneof(
  { weight: 2, arbitrary: validSpec.map((edit) => ({ edit })) },
  { weight: 1, arbitrary: spec.map((edit) => ({ edit })) },
  {
    weight: 4,
    arbitrary: fc.array(fc.oneof(published, fc.constant(putOff)), { maxLength: 2 }).map((meanwhile) => ({ meanwhile })),
  },
  { weight: 4, arbitrary: published.map((publish) => ({ publish })) },
  {
    weight: 4,
    arbitrary: fc.record({
      handle: fc.constantFrom(adopter, ...names),
      end: fc.constantFrom('done', 'dead', 'retry'),
    }),
  },
  { weight: 2, arbitrary: fc.constant({ isForeign: true }) },
  { weight: 1, arbitrary: fc.constant({ goesAway: true }) },
  { weight: 2, arbitrary: fc.array(published, { maxLength: 2 }).map((comesBack) => ({ comesBack })) },
  { weight: 1, arbitrary: fc.constant({ drop: true }) },
);

/** As `toEqual`, which takes most of the time where nearly all are the same: it is asked only where they are not. */
function expectSame(actual: unknown, expected: unknown, message: string): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual, message).toEqual(expected);
}

/** One reconcile. The world goes on between the look at it and the change of it. */
function reconcile(
  resource: EventPipeline,
  world: World,
  now: string,
  meanwhile: readonly string[] = [],
): PlanResult<EventPipelineStatus> {
  const { observed } = world;
  const before = structuredClone({ resource, observed });
  const result = planPipeline(resource, observed, alone, now);
  expectSame(planPipeline(resource, observed, alone, now), result, 'the same gives the same');
  expectSame({ resource, observed }, before, 'arguments stay as they are');
  const listed = result.pipeline?.topology.queues.map(({ name }) => name) ?? [];
  expect(new Set(listed).size).toBe(listed.length);
  for (const happened of meanwhile) {
    if (happened !== putOff) {
      world.publish(happened);
      continue;
    }
    world.foreign += 1;
    world.handle(adopter, 'retry');
  }
  world.apply(result.pipeline);
  return result;
}

it('loses no message whatever is edited and when, comes to rest, and then changes nothing', () => {
  fc.assert(
    fc.property(validSpec, fc.array(happening, { maxLength: 40, size: 'max' }), (first, happenings) => {
      const world = new World();
      let generation = 1;
      let resource = orders(first, generation);
      const settle = (meanwhile: readonly string[] = [], now = noon) => {
        resource = { ...resource, status: reconcile(resource, world, now, meanwhile).status };
      };
      settle();
      for (const happened of happenings) {
        if ('edit' in happened) resource = { ...orders(happened.edit, ++generation), status: resource.status };
        else if ('publish' in happened) world.publish(happened.publish);
        else if ('handle' in happened) world.handle(happened.handle, happened.end);
        else if ('drop' in happened) world.dropDead();
        else if ('isForeign' in happened) world.foreign += 1;
        else if ('goesAway' in happened) world.isAway = true;
        else if ('comesBack' in happened) world.comeBack(happened.comesBack);
        else settle(happened.meanwhile);
      }
      world.comeBack([]);
      for (let round = 0; round < 3; round++) settle();
      const atRest = { applied: world.applied, status: resource.status };
      settle([], later);
      expect({ applied: world.applied, status: resource.status }, 'at rest').toEqual(atRest);

      const accepted = checkPipeline(resource, alone).length === 0;
      for (let round = 0; round < 10; round++) {
        for (const [name, { waiting }] of world.queues) for (let i = 0; i < waiting; i++) world.handle(name, 'dead');
      }
      for (const [, { waiting }] of world.queues) expect(waiting, 'everything has an end').toBe(0);
      world.dropDead();
      for (let round = 0; round < 3; round++) settle();
      if (accepted) expect(world.applied).toEqual(planParts(resource));
    }),
    { numRuns: 2_000 },
  );
});
