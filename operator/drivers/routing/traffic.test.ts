import { describe, expect, it } from 'vitest';
import { latencyBoundsMs } from '../../../api/contract/routing-table.ts';
import { countOf } from '../../plan/rollout/histogram.ts';
import type { Report } from './report.ts';
import { TrafficLog, trafficOf } from './traffic.ts';

type Count = Report['counts'][number];

const latency = (fast: number): number[] => [fast, ...Array<number>(latencyBoundsMs.length).fill(0)];
const count = (version: string, by: Count['by'], requests: number, more: Partial<Count> = {}): Count => ({
  ...{ version, by, requests, failures: [], latency: latency(requests) },
  ...more,
});
const report = (process: string, ...counts: Count[]): Report => ({ process, beganAt: 0, counts });
const failed = (blame: string, n: number) => ({ blame, reason: 'late', count: n });
const about = { candidate: 'v2', stable: 'v1', rollout: 'v2 then', until: 1_000, weight: 5, leastStable: 0 };

describe('what was counted', () => {
  it('is of the weights and of keys: rules and shadows are not drawn from the traffic', () => {
    const traffic = trafficOf(
      [count('v2', 'weight', 10), count('v2', 'match', 99), count('v2', 'shadow', 99), count('v1', 'weight', 90)],
      about,
    );
    expect(traffic).toMatchObject({ candidate: 'v2', until: '1970-01-01T00:00:01.000Z', requests: 10 });
    expect(countOf(traffic.latency!.candidate)).toBe(10);
    expect(countOf(traffic.latency!.stable)).toBe(90);
  });

  it('says whose fault each failure was', () => {
    const failures = [failed('candidate', 2), failed('client', 3), failed('unclear', 4)];
    expect(trafficOf([count('v2', 'weight', 20, { failures })], about).answers).toEqual([
      { candidate: 'Ok', count: 11 },
      { candidate: 'ServerError', stable: 'Ok', count: 2 },
      { candidate: 'ClientError', stable: 'ClientError', count: 3 },
      { candidate: 'ServerError', count: 4 },
    ]);
  });

  it('has no request that the candidate was not asked, as its caller had too little time', () => {
    const failures = [{ blame: 'unclear', reason: 'no-time', count: 15 }];
    expect(trafficOf([count('v2', 'weight', 20, { failures })], about).requests).toBe(5);
  });

  it('has a key as one trial, whatever it asked', () => {
    const keys = { n: 5, failures: 1 };
    const traffic = trafficOf([count('v2', 'sticky', 1_000, { keys, failures: [failed('candidate', 200)] })], about);
    expect(traffic.requests).toBe(1_000);
    expect(traffic.answers).toEqual([
      { candidate: 'Ok', count: 4 },
      { candidate: 'ServerError', stable: 'Ok', count: 1 },
    ]);
  });

  it('has no times of a pod whose buckets are others: it is of another release', () => {
    const counts = [count('v2', 'weight', 9), count('v2', 'weight', 9, { latency: [9, ...Array<number>(73).fill(0)] })];
    expect(countOf(trafficOf(counts, about).latency!.candidate)).toBe(9);
  });

  it('has what the candidate was late with, and not the stable version or a pod of another release', () => {
    const counts = [
      count('v2', 'weight', 9, { late: latency(3) }),
      count('v2', 'sticky', 9, { late: latency(1) }),
      count('v2', 'shadow', 9, { late: latency(50) }),
      count('v2', 'weight', 9, { late: [70, ...Array<number>(73).fill(0)] }),
      count('v1', 'weight', 9, { late: latency(60) }),
    ];
    const late = (all: readonly Count[]) => trafficOf(all, about).latency?.late;
    expect(countOf(late(counts) ?? [])).toBe(4);
    expect(late([count('v2', 'weight', 9)])).toBeUndefined();
  });

  it('sums what was compared', () => {
    const compared = (n: number, failures: number) => ({ compared: { label: { n, failures } } });
    const counts = [count('v2', 'weight', 9, compared(3, 1)), count('v2', 'sticky', 9, compared(4, 2))];
    expect(trafficOf(counts, about).compared).toEqual({ label: { n: 7, failures: 3 } });
  });
});

describe('increments', () => {
  const taken = (log: TrafficLog, since: number, until: number) =>
    log.take('o', since, { ...about, until }).answers.reduce((sum, answer) => sum + answer.count, 0);

  it('begin with the first look, and a process that has come since begins at 0', () => {
    const log = new TrafficLog();
    log.add('o', [report('a', count('v2', 'weight', 100))], 1);
    expect(taken(log, 0, 1)).toBe(0);
    const since = { ...report('b', count('v2', 'weight', 5)), beganAt: 2 };
    log.add('o', [report('a', count('v2', 'weight', 107)), since], 2);
    expect(taken(log, 0, 2)).toBe(12);
  });

  it('are of what the candidate was late with as well', () => {
    const log = new TrafficLog();
    const late = (n: number) => report('a', count('v2', 'weight', 9, { late: latency(n) }));
    const takenLate = (until: number) => countOf(log.take('o', until - 1, { ...about, until }).latency?.late ?? []);
    log.add('o', [report('a', count('v2', 'weight', 9))], 1);
    log.add('o', [late(2)], 2);
    expect(takenLate(2)).toBe(2);
    log.add('o', [late(5)], 3);
    expect(takenLate(3)).toBe(3);
  });

  it('of a process that began before the first look begin with its own first report: it may have been counted before', () => {
    const log = new TrafficLog();
    log.add('o', [], 1);
    const { beganAt: _, ...unknown } = report('b', count('v2', 'weight', 50));
    log.add('o', [report('a', count('v2', 'weight', 100)), unknown], 2);
    expect(taken(log, 0, 2)).toBe(0);
    log.add('o', [report('a', count('v2', 'weight', 103)), { ...unknown, counts: [count('v2', 'weight', 54)] }], 3);
    expect(taken(log, 0, 3)).toBe(7);
  });

  it('are handed out until the status says that they were counted, and then never again', () => {
    const log = new TrafficLog();
    log.add('o', [report('a')], 1);
    log.add('o', [report('a', count('v2', 'weight', 10))], 2);
    expect(taken(log, 0, 2)).toBe(10);
    expect(taken(log, 0, 2)).toBe(10); // the status could not be written
    log.add('o', [report('a', count('v2', 'weight', 15))], 3);
    expect(taken(log, 2, 3)).toBe(5);
    expect(taken(log, 3, 3)).toBe(0);
  });

  it('of steps are those of this rollout, by version', () => {
    const log = new TrafficLog();
    const trials = (n: number, dead: number) => [
      { rollout: 'v2 then', version: 'v2', n, dead },
      { rollout: 'v2 then', version: 'v1', n: 10 * n, dead: 0 },
      { rollout: 'v2 before', version: 'v2', n: 99, dead: n },
      { rollout: 'v2 then', version: 'v9', n: 99, dead: n },
    ];
    const steps = (...counts: [n: number, dead: number][]) =>
      new Map([
        ['orders/score', counts.map(([n, dead], i) => ({ process: `p${i}`, beganAt: 2 * i, trials: trials(n, dead) }))],
      ]);
    const of = (since: number, until: number) => log.take('o', since, { ...about, until }).deadLetters;
    log.add('o', [], 1, steps([5, 1]));
    expect(of(0, 1)).toBeUndefined();
    log.add('o', [], 2, steps([8, 2], [4, 4]));
    const counted = { candidate: { n: 7, failures: 5 }, stable: { n: 70, failures: 0 } };
    expect(of(0, 2)).toEqual({ 'orders/score': counted });
    expect(of(1, 2)).toEqual({ 'orders/score': counted }); // the status could not be written
    log.add('o', [], 3, steps([2, 0], [5, 4])); // the first one has begun anew
    expect(of(2, 3)).toEqual({ 'orders/score': { candidate: { n: 1, failures: 0 }, stable: { n: 10, failures: 0 } } });
  });

  it('of steps whose process began before the first look, and did not answer then, begin with its first report', () => {
    const log = new TrafficLog();
    const step = (n: number, dead: number) => {
      const trials = [{ rollout: 'v2 then', version: 'v2', n, dead }];
      return new Map([['orders/score', [{ process: 'p', beganAt: 0, trials }]]]);
    };
    log.add('o', [], 1);
    log.add('o', [], 2, step(90, 80));
    expect(log.take('o', 0, { ...about, until: 2 }).deadLetters).toBeUndefined();
    log.add('o', [], 3, step(93, 81));
    expect(log.take('o', 0, { ...about, until: 3 }).deadLetters).toMatchObject({
      'orders/score': { candidate: { n: 3, failures: 1 } },
    });
  });

  it('have a key that fails after it was counted as a failure of no new key', () => {
    const log = new TrafficLog();
    const keys = (n: number, failures: number) => [report('a', count('v2', 'sticky', 9, { keys: { n, failures } }))];
    log.add('o', keys(0, 0), 1);
    log.add('o', keys(5, 0), 2);
    log.add('o', keys(5, 2), 3);
    expect(log.take('o', 2, { ...about, until: 3 }).answers).toEqual([
      { candidate: 'Ok', count: -2 },
      { candidate: 'ServerError', stable: 'Ok', count: 2 },
    ]);
  });

  it('never count less than nothing, whatever a pod says', () => {
    const log = new TrafficLog();
    const broken = count('v2', 'weight', 3, { failures: [failed('candidate', 1)], keys: { n: 1, failures: 1 } });
    log.add('o', [report('a', count('v2', 'weight', 10, { keys: { n: 9, failures: 9 } }))], 1);
    log.add('o', [report('a', broken)], 2);
    expect(taken(log, 0, 2)).toBe(0);
  });
});

describe('times', () => {
  const least = { ...about, leastStable: 100 };
  /** What both versions have answered so far. */
  const so = (stable: number, candidate: number) => [
    report('a', count('v1', 'weight', stable), count('v2', 'weight', candidate)),
  ];
  const begun = () => {
    const log = new TrafficLog();
    log.add('o', so(0, 0), 0);
    return log;
  };
  const taken = (log: TrafficLog, since: number, until: number, change = {}) => {
    const { latency } = log.take('o', since, { ...least, until, ...change });
    return [countOf(latency?.stable ?? []), countOf(latency?.candidate ?? [])];
  };

  it('wait, over as many windows as it takes, until there are enough of the stable version; then they begin anew', () => {
    const log = begun();
    log.add('o', so(40, 4), 1);
    expect(taken(log, 0, 1)).toEqual([40, 0]);
    log.add('o', so(80, 8), 2);
    expect(taken(log, 1, 2)).toEqual([80, 0]);
    log.add('o', so(120, 12), 3);
    expect(taken(log, 2, 3)).toEqual([120, 12]);
    log.add('o', so(150, 15), 4);
    expect(taken(log, 3, 4)).toEqual([30, 0]);
    log.add('o', so(350, 35), 5);
    expect(taken(log, 4, 5)).toEqual([230, 23]);
  });

  it('are handed out again until the status says that they were counted', () => {
    const log = begun();
    log.add('o', so(60, 6), 1);
    expect(taken(log, 0, 1)).toEqual([60, 0]);
    log.add('o', so(120, 12), 2);
    expect(taken(log, 1, 2)).toEqual([120, 12]);
    log.add('o', so(130, 13), 3);
    expect(taken(log, 1, 3)).toEqual([130, 13]); // the status could not be written
    log.add('o', so(140, 14), 4);
    expect(taken(log, 2, 4)).toEqual([20, 0]); // it was, and was only not seen
  });

  it('at 100 % are compared with the last that were enough, as there will be no others', () => {
    const log = begun();
    log.add('o', so(0, 10), 1);
    expect(taken(log, 0, 1, { weight: 100 })).toEqual([0, 0]);
    log.add('o', so(110, 20), 2);
    expect(taken(log, 1, 2)).toEqual([110, 20]);
    log.add('o', so(130, 70), 3);
    expect(taken(log, 2, 3, { weight: 100 })).toEqual([130, 50]);
    log.add('o', so(130, 100), 4);
    expect(taken(log, 3, 4, { weight: 100 })).toEqual([110, 30]);
  });

  it('of another rollout do not wait', () => {
    const log = begun();
    log.add('o', so(60, 6), 1);
    taken(log, 0, 1);
    log.add('o', so(120, 12), 2);
    expect(taken(log, 1, 2, { rollout: 'v2 later' })).toEqual([60, 0]);
  });
});
