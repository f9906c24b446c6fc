import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blame } from './blame.ts';
import { describeGate, judgeGates } from './gates.ts';
import { countAbove, countOf, type Histogram, quantileOf } from './histogram.ts';
import { answers } from './testing.ts';
import type { Gate, Traffic } from './types.ts';

const traffic = (change: Partial<Traffic> = {}): Traffic => ({
  candidate: 'v2',
  until: '2030-01-01T12:00:00.000Z',
  requests: 0,
  answers: [],
  ...change,
});

const errorRate: Gate = { errorRate: { max: 0.01 } };
const latency: Gate = { latency: { quantile: 0.99, maxRatio: 1.2 } };
const deadLetters: Gate = { deadLetters: { pipeline: 'orders', step: 'score', maxRate: 0.01 } };
/** What became of events at the step: failures of n, of the candidate and of the stable version. */
const ended = (candidate: [failures: number, n: number], stable: [failures: number, n: number]): Partial<Traffic> => {
  const counts = ([failures, n]: [number, number]) => ({ failures, n });
  return { deadLetters: { 'orders/score': { candidate: counts(candidate), stable: counts(stable) } } };
};
const disagreement: Gate = { disagreement: { output: 'label', max: 0.05 } };

/** `fast` requests of at most 40 ms, `slow` ones of more than 100. */
const histogram = (fast: number, slow = 0): Histogram => [
  { le: 40, count: fast },
  { le: 100, count: 0 },
  { le: 200, count: slow },
];

interface Case {
  gate: Gate;
  traffic?: Partial<Traffic>;
  gives: string;
  says: string;
}

const cases: Record<string, Case> = {
  'no traffic is no verdict': {
    gate: errorRate,
    gives: 'NoTraffic 0/0',
    says: 'errorRate has no verdict: nothing was counted',
  },
  'three failures of three requests': {
    gate: errorRate,
    traffic: { answers: answers(3, 3) },
    gives: 'Fail 3/3',
    says: 'errorRate failed: 100 % of 3, limit 1 %',
  },
  'six failures of six hundred': {
    gate: errorRate,
    traffic: { answers: answers(600, 6) },
    gives: 'Pass 6/600',
    says: 'errorRate holds: 1 % of 600, limit 1 %',
  },
  'seven of six hundred are above the limit, and may be chance': {
    gate: errorRate,
    traffic: { answers: answers(600, 7) },
    gives: 'Inconclusive 7/600',
    says: 'errorRate has no verdict: 1.17 % of 600, limit 1 %, may be chance',
  },
  'thirty of six hundred': {
    gate: errorRate,
    traffic: { answers: answers(600, 30) },
    gives: 'Fail 30/600',
    says: 'errorRate failed: 5 % of 600, limit 1 %',
  },
  'too few to see one failure at the limit': {
    gate: errorRate,
    traffic: { answers: answers(99) },
    gives: 'Inconclusive 0/99',
    says: 'errorRate has no verdict: 99 of 100 trials',
  },
  'just enough': {
    gate: errorRate,
    traffic: { answers: answers(100) },
    gives: 'Pass 0/100',
    says: 'errorRate holds: 0 % of 100, limit 1 %',
  },
  'what both sides refuse or fail at is nobody’s trial': {
    gate: errorRate,
    traffic: {
      answers: [
        { candidate: 'Ok', count: 200 },
        { candidate: 'ClientError', stable: 'ClientError', count: 500 },
        { candidate: 'ServerError', stable: 'ClientError', count: 500 },
        { candidate: 'ServerError', stable: 'ServerError', count: 500 },
        { candidate: 'Late', count: 500 },
      ],
    },
    gives: 'Pass 0/200',
    says: 'errorRate holds: 0 % of 200, limit 1 %',
  },
  'whatever it fails at, where stable does not': {
    gate: errorRate,
    traffic: {
      answers: (['ClientError', 'ServerError', 'Refused', 'Late', 'Invalid'] as const).map((candidate) => ({
        candidate,
        stable: 'Ok' as const,
        count: 1,
      })),
    },
    gives: 'Fail 5/5',
    says: 'errorRate failed: 100 % of 5, limit 1 %',
  },
  'as quick as stable': {
    gate: latency,
    traffic: { latency: { stable: histogram(1_000, 5), candidate: histogram(200, 1) } },
    gives: 'Pass 1/201',
    says: 'latency/0.99/1.2 holds: 0.498 % of 201, limit 1 %',
  },
  'a tenth of it slower than 1.2 × 40 ms + 5 ms': {
    gate: latency,
    traffic: { latency: { stable: histogram(1_000, 5), candidate: histogram(180, 20) } },
    gives: 'Fail 20/200',
    says: 'latency/0.99/1.2 failed: 10 % of 200, limit 1 %',
  },
  'stable slow too: what slows the machine slows both': {
    gate: latency,
    traffic: { latency: { stable: histogram(900, 100), candidate: histogram(180, 20) } },
    gives: 'Pass 0/200',
    says: 'latency/0.99/1.2 holds: 0 % of 200, limit 1 %',
  },
  'too few requests of stable to have such a quantile': {
    gate: latency,
    traffic: { latency: { stable: histogram(99), candidate: histogram(0, 50) } },
    gives: 'NoTraffic 0/0',
    says: 'latency/0.99/1.2 has no verdict: nothing was counted; 99 of 100 requests of the stable version to compare with',
  },
  'late, and given more than is allowed: slow': {
    gate: latency,
    traffic: { latency: { stable: histogram(1_000, 5), candidate: histogram(100), late: histogram(0, 10) } },
    gives: 'Fail 10/110',
    says: 'latency/0.99/1.2 failed: 9.09 % of 110, limit 1 %',
  },
  'late, and given less than is allowed: nobody knows': {
    gate: latency,
    traffic: { latency: { stable: histogram(1_000, 5), candidate: histogram(100), late: histogram(10) } },
    gives: 'Pass 0/100',
    says: 'latency/0.99/1.2 holds: 0 % of 100, limit 1 %',
  },
  'an output that the stable version has not': {
    gate: disagreement,
    traffic: { unknownOutputs: { wanted: ['label'], has: ['output_label', 'probabilities'] } },
    gives: 'NoTraffic 0/0',
    says: 'disagreement/label has no verdict: nothing was counted; there is no output label; there is output_label, probabilities',
  },
  'another output that the stable version has not': {
    gate: disagreement,
    traffic: { unknownOutputs: { wanted: ['score'], has: ['label'] } },
    gives: 'NoTraffic 0/0',
    says: 'disagreement/label has no verdict: nothing was counted',
  },
  'one output in ten differs': {
    gate: disagreement,
    traffic: { compared: { label: { n: 1_000, failures: 100 }, score: { n: 1_000, failures: 0 } } },
    gives: 'Fail 100/1000',
    says: 'disagreement/label failed: 10 % of 1000, limit 5 %',
  },
  'every event that the candidate has scored is a dead letter': {
    gate: deadLetters,
    traffic: ended([3, 3], [0, 57]),
    gives: 'Fail 3/3',
    says: 'deadLetters/orders/score failed: 100 % of 3, limit 1 %',
  },
  'dead letters of another step': {
    gate: deadLetters,
    traffic: { deadLetters: { 'orders/check': { candidate: { n: 9, failures: 9 }, stable: { n: 9, failures: 0 } } } },
    gives: 'NoTraffic 0/0',
    says: 'deadLetters/orders/score has no verdict: nothing was counted',
  },
  'events that no version can be right about': {
    gate: deadLetters,
    traffic: ended([30, 100], [280, 900]),
    gives: 'Inconclusive 30/100',
    says: 'deadLetters/orders/score has no verdict: 30 % of 100, limit 1 %, and the stable version has 31.1 % of 900',
  },
  'the stable version has dead letters as well, and far fewer': {
    gate: deadLetters,
    traffic: ended([90, 100], [45, 900]),
    gives: 'Fail 90/100',
    says: 'deadLetters/orders/score failed: 90 % of 100, limit 1 %',
  },
  'handled, all of them': {
    gate: deadLetters,
    traffic: ended([0, 100], [0, 900]),
    gives: 'Pass 0/100',
    says: 'deadLetters/orders/score holds: 0 % of 100, limit 1 %',
  },
};

describe('a gate', () => {
  it.each(Object.entries(cases))('%s', (_, { gate, traffic: counted, gives, says }) => {
    const [status] = judgeGates([gate], [], counted && traffic(counted));
    expect(`${status?.verdict} ${status?.failures}/${status?.n}`).toBe(gives);
    expect(status && describeGate(status)).toBe(says);
    const [low = 1, high = 0] = status?.interval ?? [];
    expect(low).toBeLessThan(high);
    if (status?.verdict === 'Fail') expect(low).toBeGreaterThan(status.limit);
  });

  it('counts on from window to window, and begins anew where a trial is something else', () => {
    const first = judgeGates([errorRate, latency], [], traffic({ answers: answers(50, 1) }));
    const second = judgeGates([errorRate, latency], first, traffic({ answers: answers(50, 1) }));
    expect(second[0]).toMatchObject({ n: 100, failures: 2, observed: 0.02 });
    const edited = judgeGates([{ errorRate: { max: 0.05 } }], second, undefined);
    expect(edited[0]).toMatchObject({ n: 100, failures: 2, limit: 0.05, verdict: 'Pass' });
    const slow = { stable: histogram(1_000), candidate: histogram(99, 1) };
    const timed = judgeGates([latency], [], traffic({ latency: slow }));
    expect(judgeGates([latency], timed, undefined)[0]).toMatchObject({ n: 100 });
    expect(judgeGates([{ latency: { quantile: 0.99, maxRatio: 2 } }], timed, undefined)[0]).toMatchObject({ n: 0 });
  });

  it('takes a key back that was counted as good, and never has more failures than trials', () => {
    const first = judgeGates([errorRate], [], traffic({ answers: answers(200) }));
    const second = judgeGates([errorRate], first, traffic({ answers: answers(0, 20) }));
    expect(second[0]).toMatchObject({ n: 200, failures: 20, verdict: 'Fail' });
    const [lost] = judgeGates([errorRate], [], traffic({ answers: answers(1, 3) }));
    expect(lost).toMatchObject({ n: 1, failures: 1, observed: 1 });
  });

  it('of latency says what it waits for, until the next window, and not once it has a verdict', () => {
    const few = { stable: histogram(40), candidate: [] };
    const enough = (candidate: number) => ({ stable: histogram(100), candidate: histogram(candidate) });
    const [first] = judgeGates([latency], [], traffic({ latency: enough(50) }));
    expect(first).not.toHaveProperty('message');
    const waits = judgeGates([latency], first ? [first] : [], traffic({ latency: few }));
    const message = '50 of 100 trials; 40 of 100 requests of the stable version to compare with';
    expect(waits[0]).toMatchObject({ n: 50, message });
    expect(judgeGates([latency], waits, undefined)[0]).toMatchObject({ n: 50, message });
    const passes = judgeGates([latency], waits, traffic({ latency: enough(50) }));
    expect(passes[0]).toMatchObject({ n: 100, verdict: 'Pass' });
    expect(judgeGates([latency], passes, traffic({ latency: few }))[0]).not.toHaveProperty('message');
  });

  it('keeps what was counted of the stable version, too', () => {
    const first = judgeGates([deadLetters], [], traffic(ended([0, 10], [1, 90])));
    const second = judgeGates([deadLetters], first, traffic(ended([1, 10], [2, 90])));
    expect(second[0]).toMatchObject({ n: 20, failures: 1, stable: { n: 180, failures: 3 } });
  });

  it('that refers to nothing counts nothing, says why, and forgets nothing', () => {
    const broken = { 'deadLetters/orders/score': 'there is no EventPipeline orders; there is none' };
    const before = judgeGates([deadLetters], [], traffic(ended([0, 10], [0, 90])));
    const [status] = judgeGates([deadLetters], before, traffic(ended([5, 5], [0, 0])), broken);
    expect(status).toMatchObject({ n: 10, failures: 0, message: broken['deadLetters/orders/score'] });
    expect(status && describeGate(status)).toBe(
      'deadLetters/orders/score has no verdict: there is no EventPipeline orders; there is none',
    );
    expect(judgeGates([deadLetters], status ? [status] : [], undefined)[0]).not.toHaveProperty('message');
  });

  it('of dead letters fails only where the same counts fail alone, and never for what both sides have', () => {
    const counts = fc
      .integer({ min: 1, max: 2_000 })
      .chain((n) => fc.tuple(fc.integer({ min: 0, max: n }), fc.constant(n)));
    fc.assert(
      fc.property(counts, counts, (candidate, stable) => {
        const verdictOf = (gate: Gate, counted: Partial<Traffic>) =>
          judgeGates([gate], [], traffic(counted))[0]?.verdict;
        const alone = verdictOf(errorRate, { answers: answers(candidate[1], candidate[0]) });
        const found = verdictOf(deadLetters, ended(candidate, stable));
        expect(found === alone || (alone === 'Fail' && found === 'Inconclusive')).toBe(true);
        const many: [number, number] = [candidate[0] * 10, candidate[1] * 10];
        if (verdictOf(errorRate, { answers: answers(many[1], many[0]) }) === 'Fail') {
          expect(verdictOf(deadLetters, ended(candidate, many))).not.toBe('Fail');
        }
      }),
    );
  });

  it('shares α with the others: what is enough alone may not be among four', () => {
    const gates = [errorRate, latency, disagreement, { disagreement: { output: 'score', max: 0.05 } }];
    const few = traffic({ answers: answers(100, 6) });
    expect(judgeGates([errorRate], [], few)[0]?.verdict).toBe('Fail');
    expect(judgeGates(gates, [], few)[0]?.verdict).toBe('Inconclusive');
  });
});

describe('histogram', () => {
  const some: Histogram = [
    { le: 1, count: 10 },
    { le: 2, count: 0 },
    { le: 4, count: 80 },
    { le: Number.POSITIVE_INFINITY, count: 10 },
  ];

  it('has quantiles at the upper edge, and counts only what is surely above', () => {
    expect([0, 0.1, 0.11, 0.9, 0.91].map((q) => quantileOf(some, q))).toEqual([1, 1, 4, 4, Number.POSITIVE_INFINITY]);
    expect([0, 1, 1.5, 2, 3, 4, 5].map((ms) => countAbove(some, ms))).toEqual([100, 90, 90, 90, 10, 10, 0]);
    expect(countOf(some)).toBe(100);
    expect(quantileOf([], 0.5)).toBeUndefined();
    expect(quantileOf([{ le: 1, count: 0 }], 0.5)).toBeUndefined();
  });
});

describe('blame', () => {
  it.each([
    ['Ok', undefined, 'Nobody'],
    ['ServerError', 'Ok', 'Candidate'],
    ['ClientError', 'Ok', 'Candidate'],
    ['Invalid', 'Ok', 'Candidate'],
    ['Invalid', 'Invalid', 'Unjudged'],
    ['ServerError', 'ClientError', 'Unjudged'],
    ['Late', 'Late', 'Unjudged'],
    ['Refused', undefined, 'Unjudged'],
  ] as const)('candidate %s, stable %s: %s', (candidate, stable, whose) => {
    expect(blame(candidate, stable)).toBe(whose);
  });
});
