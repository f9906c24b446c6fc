import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Gate, Gates, type Job, Line, Schedule } from './schedule.ts';

class TestJob implements Job {
  readonly gate: Gate;
  readonly name: string;
  readonly #started: string[];
  isOver = false;
  constructor(gate: Gate, name: string, started: string[]) {
    this.gate = gate;
    this.name = name;
    this.#started = started;
  }
  start() {
    this.#started.push(this.name);
  }
}

const setUp = (limit: number, perOrigin: number) => {
  const schedule = new Schedule(limit);
  const gates = new Gates(perOrigin);
  const started: string[] = [];
  return {
    ...{ schedule, gates, started },
    line: (concurrency: number) => new Line(concurrency, gates),
    submit(line: Line, name: string) {
      // The first letter is the origin.
      const job = new TestJob(line.gates.get(name.slice(0, 1)), name, started);
      schedule.submit(line, job);
      return job;
    },
  };
};

describe('limits', () => {
  test('of an event', () => {
    const { schedule, started, line, submit } = setUp(100, 100);
    const one = line(2);
    const jobs = ['a1', 'a2', 'b3', 'a4'].map((name) => submit(one, name));
    expect(started).toEqual(['a1', 'a2']);
    submit(line(2), 'a5');
    expect(started).toEqual(['a1', 'a2', 'a5']);
    schedule.release(one, jobs[0]!.gate);
    schedule.release(one, jobs[1]!.gate);
    expect(started.slice(3).toSorted()).toEqual(['a4', 'b3']);
  });

  test('of an origin; others of the event go ahead', () => {
    const { schedule, started, line, submit } = setUp(100, 1);
    const one = line(100);
    const [first] = ['a1', 'a2', 'b3', 'a4'].map((name) => submit(one, name));
    expect(started).toEqual(['a1', 'b3']);
    const two = line(100);
    submit(two, 'a5');
    schedule.release(one, first!.gate);
    expect(started).toHaveLength(3);
  });

  test('in all, and events take turns', () => {
    const { schedule, started, line, submit } = setUp(1, 100);
    const [one, two] = [line(100), line(100)];
    const jobs = ['a1', 'a2', 'a3', 'a4'].map((name) => submit(one, name));
    for (const name of ['b1', 'b2']) submit(two, name);
    schedule.release(one, jobs[0]!.gate);
    for (let i = 0; i < 4; i++) {
      const last = started.at(-1)!;
      schedule.release(last.startsWith('a') ? one : two, (last.startsWith('a') ? one : two).gates.get(last[0]!));
    }
    expect(started).toEqual(['a1', 'a2', 'b1', 'a3', 'b2', 'a4']);
  });
});

test('a step has no more than is free for the others', () => {
  const { schedule, started, line, submit } = setUp(9, 100);
  for (let i = 0; i < 9; i++) submit(line(100), `a${i}`);
  expect(started).toHaveLength(5);
  const other = new Gates(100);
  const theirs = [1, 2, 3].map((i) => submit(new Line(100, other), `b${i}`));
  expect(started.slice(5)).toEqual(['b1', 'b2']);
  expect([schedule.active, theirs.length]).toEqual([7, 3]);
  submit(new Line(100, new Gates(100)), 'c1');
  expect(started.at(-1)).toBe('c1');
});

test('a job that is over is passed over', () => {
  const { schedule, gates, started, line, submit } = setUp(1, 100);
  const one = line(100);
  const [first, second] = ['a1', 'a2', 'a3'].map((name) => submit(one, name));
  second!.isOver = true;
  schedule.release(one, first!.gate);
  expect(started).toEqual(['a1', 'a3']);
  schedule.release(one, first!.gate);
  expect([schedule.active, gates.size]).toEqual([0, 0]);
});

test('a line that is dropped leaves nothing, and the others go on', () => {
  const { schedule, gates, started, line, submit } = setUp(1, 100);
  const [one, two] = [line(100), line(100)];
  const [first] = ['a1', 'a2', 'b3'].map((name) => submit(one, name));
  submit(two, 'c1');
  schedule.drop(one);
  schedule.release(one, first!.gate);
  expect(started).toEqual(['a1', 'c1']);
  schedule.release(two, gates.get('c'));
  expect([schedule.active, gates.size]).toEqual([0, 0]);
});

test('whatever comes and goes: limits hold, nothing that could start waits, all start, nothing is left', () => {
  const command = fc.record({ line: fc.nat(3), origin: fc.constantFrom('a', 'b', 'c'), release: fc.boolean() });
  const limits = fc.record({ all: fc.integer({ min: 1, max: 4 }), per: fc.integer({ min: 1, max: 3 }) });
  fc.assert(
    fc.property(limits, fc.array(command, { maxLength: 60 }), ({ all, per }, commands) => {
      const { schedule, gates, started } = setUp(all, per);
      const others = new Gates(per);
      const lines = [1, 2, 3, 2].map((concurrency, index) => {
        const own = index === 3 ? others : gates;
        return { line: new Line(concurrency, own), concurrency, gates: own };
      });
      const jobs = new Map<string, { job: TestJob; index: number }>();
      const running = new Set<string>();
      const finish = (name: string) => {
        running.delete(name);
        const { job, index } = jobs.get(name)!;
        schedule.release(lines[index]!.line, job.gate);
      };
      let seen = 0;
      const check = () => {
        for (; seen < started.length; seen++) running.add(started[seen]!);
        const active = [...running].map((name) => jobs.get(name)!);
        const of = (index: number) => active.filter((entry) => entry.index === index).length;
        const inStep = (step: Gates) => active.filter(({ index }) => lines[index]!.gates === step);
        const at = (step: Gates, origin: string) =>
          inStep(step).filter(({ job }) => job.name.startsWith(origin)).length;
        expect(schedule.active).toBe(running.size);
        expect(running.size).toBeLessThanOrEqual(all);
        for (const [index, { concurrency }] of lines.entries()) expect(of(index)).toBeLessThanOrEqual(concurrency);
        for (const step of [gates, others]) {
          for (const origin of ['a', 'b', 'c']) expect(at(step, origin)).toBeLessThanOrEqual(per);
        }
        const couldStart = [...jobs].filter(([name, { job, index }]) => {
          const { concurrency, gates: step } = lines[index]!;
          const hasPlace = inStep(step).length < all - running.size && at(step, job.name[0]!) < per;
          return !started.includes(name) && hasPlace && of(index) < concurrency;
        });
        expect(couldStart).toEqual([]);
      };
      for (const [number, { line, origin, release }] of commands.entries()) {
        const name = `${origin}${number}`;
        const job = new TestJob(lines[line]!.gates.get(origin), name, started);
        jobs.set(name, { job, index: line });
        schedule.submit(lines[line]!.line, job);
        check();
        const [first] = running;
        if (release && first) {
          finish(first);
          check();
        }
      }
      for (let [first] = running; first; [first] = running) {
        finish(first);
        check();
      }
      expect(started).toHaveLength(commands.length);
      expect([schedule.active, gates.size, others.size]).toEqual([0, 0, 0]);
    }),
  );
});
