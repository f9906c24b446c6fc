import { describe, expect, it } from 'vitest';
import { trialsOf } from './look.ts';
import { answers, begun, ready, spec, World, wanted } from './testing.ts';
import { timeOf } from './time.ts';
import type { RolloutSpec, UnderWay } from './types.ts';

/** A world with v1 serving, v2 wanted and `change` of the spec. */
function world(change: Partial<RolloutSpec> = {}): World {
  const made = new World();
  made.wanted = wanted({ rollout: { ...spec, ...change } });
  return made;
}

const gone = { ready: 0, fullCapacity: false };
const bad = { traffic: { requests: 3, answers: answers(3, 3) } };
const worse = { traffic: { requests: 30, answers: answers(30, 30) } };
const good = { traffic: { requests: 100, answers: answers(100) } };

/** Another version is wanted. */
const serve = (story: World, version: string, change: Partial<RolloutSpec> = {}) => {
  const rollout = { ...spec, ...story.wanted.rollout, ...change };
  story.wanted = { ...story.wanted, serve: version, rollout };
};

describe('outcomes', () => {
  const outcomesOf = (story: World) => story.decisions.flatMap(({ outcomes }) => outcomes);

  it('of a good version: promoted, once', () => {
    const story = world().until('Holding');
    const [at, rollout] = [timeOf(story.now), story.id];
    story.until('Stable');
    expect(outcomesOf(story)).toEqual([{ type: 'model.promoted', rollout, version: 'v2', from: 'v1', time: at }]);
  });

  it('of a bad version: taken back, once, and by which gate', () => {
    const story = world();
    story.look();
    story.until('RolledBack', 30, 30);
    const { gates } = story.status as { gates: ReadonlyArray<{ n: number }> };
    const [at, rollout] = [timeOf(story.now), story.id];
    for (let i = 0; i < 5; i++) story.look();
    const gate = { gate: 'errorRate', observed: 1, limit: 0.01, n: gates[0]?.n };
    expect(gate.n).toBeGreaterThan(0);
    expect(outcomesOf(story)).toEqual([
      { type: 'model.rolledback', rollout, version: 'v2', from: 'v1', time: at, ...gate },
    ]);
  });

  it('of one that a person takes back, or that is not ready after its promotion', () => {
    const story = world();
    story.look();
    const rollout = story.id;
    story.say('abort');
    story.look();
    story.look();
    const back = { type: 'model.rolledback', version: 'v2', from: 'v1' };
    expect(outcomesOf(story)).toEqual([{ ...back, rollout, time: timeOf(story.now - 15_000), gate: 'abort' }]);
    const other = world().until('Holding');
    other.versions['v2'] = gone;
    other.look();
    expect(outcomesOf(other)).toMatchObject([
      { type: 'model.promoted', rollout: other.id },
      { ...back, rollout: other.id, gate: 'notReady' },
    ]);
  });

  it('of one that is not wanted any more: before it takes over, after that, or for a third one', () => {
    const back = { type: 'model.rolledback', version: 'v2', from: 'v1', gate: 'serve' };
    const stepping = world();
    stepping.look();
    const id = stepping.id;
    serve(stepping, 'v1');
    stepping.look();
    stepping.look();
    expect(outcomesOf(stepping)).toEqual([{ ...back, rollout: id, time: timeOf(stepping.now - 15_000) }]);
    const promoted = world().until('Holding');
    const rollout = promoted.id;
    serve(promoted, 'v1');
    for (let i = 0; i < 4; i++) promoted.look();
    expect(outcomesOf(promoted)).toMatchObject([
      { type: 'model.promoted', rollout },
      { ...back, rollout },
    ]);
    const replaced = world();
    replaced.look();
    const first = replaced.id;
    serve(replaced, 'v3');
    replaced.look();
    replaced.look();
    expect(outcomesOf(replaced)).toMatchObject([{ ...back, rollout: first }]);
  });

  it('of another model under the same name: the first one is taken back, though nobody has said so', () => {
    const story = world();
    story.versions['v2'] = { ...ready, digest: 'sha256:first' };
    story.look();
    const first = story.id;
    story.versions['v2'] = { ...ready, digest: 'sha256:second' };
    story.look();
    expect(story.decision).toMatchObject({ phase: 'Progressing', status: { digest: 'sha256:second' } });
    expect(outcomesOf(story)).toMatchObject([{ type: 'model.rolledback', rollout: first, gate: 'digest' }]);
  });

  it('of one that has gone back already, nothing more when another one is wanted', () => {
    const story = world();
    story.look();
    story.until('RolledBack', 30, 30);
    serve(story, 'v1');
    for (let i = 0; i < 3; i++) story.look();
    expect(outcomesOf(story)).toHaveLength(1);
  });

  it('decided again, because the status was not written, it is the same one', () => {
    const story = world().until('Promoting');
    const lost = story.look({ after: 0, lost: true });
    expect(story.look({ after: 0 }).outcomes).toEqual(lost.outcomes);
    expect(lost.outcomes).toHaveLength(1);
  });
});

describe('a good version', () => {
  it('goes up step by step, takes over in one move, and the old one stays for the promotion hold', () => {
    const story = world();
    const seen: string[] = [];
    let before = '';
    for (let i = 0; i < 80 && story.decisions.at(-1)?.phase !== 'Stable'; i++) {
      const { phase, weight, front, runs } = story.look(good);
      const shown = `${phase} ${weight} front ${front} runs ${runs.join(' ')}`;
      if (shown !== before) seen.push(`${(story.now - begun) / 1000} s ${shown}`);
      before = shown;
    }
    expect(seen).toEqual([
      '15 s Progressing 5 front v1 runs v1 v2',
      '90 s Progressing 50 front v1 runs v1 v2',
      '405 s Promoting 50 front v2 runs v1 v2',
      '420 s Holding 100 front v2 runs v2 v1',
      '1020 s Stable 0 front v2 runs v2',
    ]);
    expect(story.events).toEqual([
      'RolloutStarted',
      'StepStarted',
      'StepStarted',
      'Promoting',
      'Promoted',
      'PromotionFinal',
    ]);
    expect(story.status).toEqual({ phase: 'Stable', stable: 'v2' });
  });

  it('is not promoted before it has its full capacity', () => {
    const story = world();
    story.versions['v2'] = { ready: 1, fullCapacity: false };
    story.until('Promoting');
    for (let i = 0; i < 5; i++) expect(story.look().front).toBe('v1');
    story.versions['v2'] = ready;
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Promoting' });
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Holding', weight: 100 });
  });

  it('a hold begins when every pod has the weight', () => {
    const story = world();
    story.look();
    for (let i = 0; i < 10; i++) {
      story.weight = 0;
      expect(story.look(good)).toMatchObject({
        phase: 'Progressing',
        weight: 5,
        status: { message: '5 % is being applied' },
      });
    }
    story.weight = 5;
    expect(story.look(good).status).toMatchObject({ stepStartedAt: timeOf(story.now) });
    expect(story.look({ ...good, after: 59_999 })).toMatchObject({ weight: 5 });
    expect(story.look({ ...good, after: 1 })).toMatchObject({ weight: 50 });
  });

  it('looks again each interval, and when a hold is over', () => {
    const story = world();
    expect(story.look().lookAgainAt).toBe(timeOf(story.now + 15_000));
    story.look({ after: 1_000 });
    expect(story.look({ after: 50_000 }).lookAgainAt).toBe(timeOf(story.now + 10_000));
    expect(story.until('Holding').decision.lookAgainAt).toBe(timeOf(story.now + 600_000));
    expect(story.until('Stable').decision.lookAgainAt).toBeUndefined();
  });

  it('without `rollout` it is switched as soon as it is loaded', () => {
    const story = world();
    const { rollout: _, ...rest } = story.wanted;
    story.wanted = rest;
    story.versions['v2'] = gone;
    expect(story.look({ after: 1e9 })).toMatchObject({ front: 'v1', phase: 'Progressing' });
    story.versions['v2'] = ready;
    expect(story.look()).toMatchObject({ front: 'v2', weight: 0 });
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Stable', runs: ['v2'] });
  });
});

describe('what keeps a step from being over', () => {
  it.each<[string, Partial<RolloutSpec>, (story: World) => void, string]>([
    [
      'too few requests',
      {},
      (story) => story.look({ after: 60_000, traffic: { requests: 99, answers: answers(100) } }),
      '99 of 100 requests',
    ],
    [
      'no traffic',
      { minRequests: 0 },
      (story) => story.look({ after: 60_000 }),
      'errorRate has no verdict: nothing was counted',
    ],
    [
      'a proportion above the limit that may be chance',
      {},
      (story) => story.look({ after: 60_000, traffic: { requests: 100, answers: answers(100, 2) } }),
      'errorRate has no verdict: 2 % of 100, limit 1 %, may be chance',
    ],
    [
      'nothing to compare with',
      {},
      (story) => {
        story.versions['v1'] = gone;
        story.look({ ...good, after: 60_000 });
      },
      'version v1 is not ready, so there is nothing to compare with',
    ],
    [
      'the candidate is not ready',
      {},
      (story) => {
        story.versions['v2'] = gone;
        story.look({ ...good, after: 60_000 });
      },
      'Version v2 is being loaded',
    ],
    [
      'counts of another version, or of before',
      { minRequests: 0 },
      (story) => {
        story.look({ after: 60_000, traffic: { candidate: 'v3', requests: 100, answers: answers(100) } });
        story.look({ traffic: { until: timeOf(begun), requests: 100, answers: answers(100) } });
      },
      'errorRate has no verdict: nothing was counted',
    ],
  ])('%s', (_, change, happens, message) => {
    const story = world(change);
    story.look();
    story.look();
    happens(story);
    expect(story.decision).toMatchObject({ phase: 'Waiting', weight: 5, status: { message } });
    story.versions = { v1: ready, v2: ready };
    story.until('Promoting');
  });

  it('a person, where the step asks for approval', () => {
    const story = world({
      steps: [
        { weight: 10, hold: '0s', approval: true },
        { weight: 50, hold: '0s', approval: true },
      ],
    });
    story.until('AwaitingApproval');
    expect(story.look({ ...good, after: 1e9 })).toMatchObject({ phase: 'AwaitingApproval', weight: 10, events: [] });
    story.say('resume');
    expect(story.look(good)).toMatchObject({ phase: 'Progressing', weight: 50 });
    expect(story.until('AwaitingApproval').decision.weight).toBe(50);
    story.say('resume');
    expect(story.look(good)).toMatchObject({ phase: 'Promoting' });
  });
});

describe('a bad version', () => {
  it('goes back in one move after three failures in three requests, and stays away', () => {
    const story = world();
    story.look();
    expect(story.look(bad)).toMatchObject({
      phase: 'RolledBack',
      weight: 0,
      front: 'v1',
      lastRollback: { version: 'v2', gate: 'errorRate', observed: 1, limit: 0.01, time: timeOf(story.now) },
      events: [{ type: 'Warning', reason: 'RolledBack' }],
      status: { message: 'Version v2 was rolled back: errorRate failed: 100 % of 3, limit 1 %. Version v1 serves.' },
    });
    for (let i = 0; i < 5; i++) {
      const decision = story.look({ ...good, after: 1e9 });
      expect(decision).toMatchObject({ phase: 'RolledBack', weight: 0, runs: ['v1'], events: [] });
      expect(decision.lastRollback).toBeUndefined();
      expect(decision.lookAgainAt).toBeUndefined();
    }
  });

  it('runs on until no pod hands it requests', () => {
    const story = world();
    story.look();
    story.look(bad);
    story.weight = 5;
    expect(story.look().runs).toEqual(['v1', 'v2']);
    expect(story.look().runs).toEqual(['v1']);
  });

  it('in the last step, and while it is brought to full capacity', () => {
    const story = world();
    story.versions['v2'] = { ready: 1, fullCapacity: false };
    story.until('Promoting');
    expect(story.look({ traffic: { requests: 300, answers: answers(300, 100) } })).toMatchObject({
      phase: 'RolledBack',
      front: 'v1',
    });
  });

  it('also while a person has paused it', () => {
    const story = world();
    story.look();
    story.say('pause');
    expect(story.look(good).phase).toBe('Paused');
    expect(story.look(worse).phase).toBe('RolledBack');
  });

  it('after it has taken over: when none of its pods is ready and the old one is', () => {
    const story = world().until('Holding');
    story.versions['v2'] = gone;
    expect(story.look()).toMatchObject({ phase: 'RolledBack', front: 'v1', lastRollback: { gate: 'notReady' } });
    expect(story.look()).toMatchObject({ phase: 'RolledBack', front: 'v1', weight: 0 });
    story.versions = { v1: ready, v2: ready };
    expect(story.look()).toMatchObject({ phase: 'RolledBack', front: 'v1' });
  });

  it('that cannot be loaded: after the deadline', () => {
    const story = world();
    story.versions['v2'] = { ...gone, failure: 'ModelInvalid' };
    expect(story.look()).toMatchObject({
      phase: 'Progressing',
      weight: 0,
      status: { message: 'Version v2 cannot be loaded: ModelInvalid' },
    });
    expect(story.look({ after: 2 * 3_600_000 - 1 })).toMatchObject({ phase: 'Progressing' });
    expect(story.look({ after: 1 })).toMatchObject({ phase: 'RolledBack', lastRollback: { gate: 'progressDeadline' } });
  });

  it('deadline: without traffic; a hold does not count', () => {
    const story = world({ steps: [{ weight: 5, hold: '1d' }], progressDeadline: '1h' });
    story.look();
    story.look();
    expect(story.look({ after: 86_400_000 + 3_500_000 })).toMatchObject({ phase: 'Waiting' });
    expect(story.look({ after: 100_000 })).toMatchObject({ phase: 'RolledBack' });
  });

  it('onFailure: Pause freezes the weight; resume counts from there, with an id of its own', () => {
    const story = world({ onFailure: 'Pause' });
    story.look();
    expect(story.look(bad)).toMatchObject({ phase: 'Paused', weight: 5, events: [{ reason: 'RolloutPaused' }] });
    expect(story.look({ ...good, after: 1e9 })).toMatchObject({ phase: 'Paused', weight: 5, events: [] });
    const before = story.id;
    story.say('resume');
    expect(story.look(good)).toMatchObject({ phase: 'Progressing', weight: 5, status: { gates: [{ n: 0 }] } });
    expect(story.id).not.toBe(before);
    expect((story.status as UnderWay).countedFrom, 'each key is a trial again').toBe(timeOf(story.now));
    expect(story.look(worse).phase).toBe('Paused');
    story.say('resume', before);
    expect(story.look(good), 'it has acted already').toMatchObject({ phase: 'Paused', events: [] });
    story.say('resume');
    expect(story.until('Promoting').decision.weight).toBe(50);
  });
});

describe('commands', () => {
  it.each(['promote', 'abort', 'pause', 'resume'])('%s acts once, however long the annotation stays', (verb) => {
    const story = world({ steps: [{ weight: 10, hold: '1m', approval: true }], minRequests: 0 });
    story.look(good);
    if (verb === 'resume') story.until('AwaitingApproval');
    const { id } = story;
    story.say(verb);
    const first = story.look(good);
    expect(first.status.command).toMatchObject({ text: `${verb}/${id}`, outcome: 'Done', time: timeOf(story.now) });
    expect(story.id).not.toBe(id);
    const { id: after } = story;
    for (let i = 0; i < 3; i++) expect(story.look({ ...good, after: 1 }).status.command).toEqual(first.status.command);
    if (story.status?.phase !== 'Stable') expect(story.id).toBe(after);
  });

  it('promote: past the steps that are left, but not past full capacity', () => {
    const story = world();
    story.versions['v2'] = { ready: 1, fullCapacity: false };
    story.look();
    story.say('promote');
    expect(story.look()).toMatchObject({ phase: 'Promoting', front: 'v1', weight: 5 });
    expect(story.look(bad), 'gates still hold').toMatchObject({ phase: 'RolledBack' });
  });

  it('promote: although a gate has failed, when a person says so after it', () => {
    const story = world({ onFailure: 'Pause' });
    story.look();
    story.look(bad);
    story.say('promote');
    expect(story.look(bad)).toMatchObject({ phase: 'Promoting', front: 'v2' });
    expect(story.look(bad)).toMatchObject({ phase: 'Holding' });
  });

  it('abort: back, and away until resume', () => {
    const story = world();
    story.look();
    story.say('abort');
    expect(story.look()).toMatchObject({ phase: 'Aborted', weight: 0, lastRollback: { gate: 'abort' } });
    expect(story.look({ ...good, after: 1e9 })).toMatchObject({ phase: 'Aborted', weight: 0 });
    story.say('resume');
    expect(story.look()).toMatchObject({ phase: 'Progressing', weight: 5, status: { startedAt: timeOf(story.now) } });
    story.until('Holding');
  });

  it('abort while the old version is held: one move back', () => {
    const story = world().until('Holding');
    story.say('abort');
    expect(story.look()).toMatchObject({ phase: 'Aborted', front: 'v1', weight: 0 });
    expect(story.look()).toMatchObject({ phase: 'Aborted', front: 'v1', runs: ['v1'] });
  });

  it('pause and resume', () => {
    const story = world();
    story.look();
    story.say('pause');
    expect(story.look(good)).toMatchObject({
      phase: 'Paused',
      weight: 5,
      status: { message: 'Paused at 5 % by a command.' },
    });
    expect(story.look({ ...good, after: 1e9 })).toMatchObject({ phase: 'Paused', weight: 5 });
    story.say('resume');
    expect(story.look(good)).toMatchObject({ phase: 'Progressing', weight: 50, status: { gates: [{ n: 300 }] } });
  });

  it.each<[string, (story: World) => void, string]>([
    [
      'of another rollout',
      (story) => story.say('promote', 'v2-abc-0'),
      'it is not one of promote, abort, pause, resume/',
    ],
    ['unknown', (story) => story.say('explode'), 'it is not one of promote, abort, pause, resume/'],
    ['resume of what goes on', (story) => story.say('resume'), 'nothing waits for it'],
    [
      'promote of what has gone back',
      (story) => {
        story.look(bad);
        story.say('promote');
      },
      'version v2 has gone back; resume begins anew',
    ],
    [
      'pause after the promotion',
      (story) => {
        story.until('Holding');
        story.say('pause');
      },
      'nothing is under way',
    ],
    [
      'abort after the promotion, when nothing is there to go back to',
      (story) => {
        story.until('Holding');
        story.versions['v1'] = gone;
        story.say('abort');
      },
      'version v1 is not ready',
    ],
    [
      'where there is no rollout',
      (story) => {
        story.until('Stable', 100, 0, 500);
        story.wanted = { ...story.wanted, command: 'promote/v2-abc-0' };
      },
      'no rollout is under way',
    ],
  ])('refused, and said once: %s', (_, happens, message) => {
    const story = world();
    story.look();
    happens(story);
    const { phase } = story.decision;
    const refused = story.look();
    expect(refused).toMatchObject({ phase, events: [{ type: 'Warning', reason: 'CommandRefused' }] });
    expect(refused.status.command).toMatchObject({ outcome: 'Refused', message: expect.stringContaining(message) });
    expect(story.look({ after: 1 }).events).toEqual([]);
  });
});

describe('what is wanted changes', () => {
  it('first deployment: no rollout', () => {
    const story = world();
    story.front = undefined;
    expect(story.look()).toMatchObject({
      phase: 'Stable',
      front: 'v2',
      weight: 0,
      runs: ['v2'],
      events: [],
    });
  });

  it('a new version in the middle: the old candidate gets nothing more, the new one begins from the start', () => {
    const story = world();
    while (story.decisions.at(-1)?.weight !== 50) story.look(good);
    serve(story, 'v3');
    const decision = story.look({ traffic: { candidate: 'v2', requests: 100, answers: answers(100) } });
    expect(decision).toMatchObject({
      front: 'v1',
      weight: 5,
      status: { candidate: 'v3', stable: 'v1', gates: [{ n: 0 }], requests: 0 },
      events: [{ reason: 'RolloutSuperseded' }, { reason: 'RolloutStarted' }, { reason: 'StepStarted' }],
    });
    expect(decision.runs, 'until no pod hands it requests').toEqual(['v1', 'v3', 'v2']);
    story.weight = 0;
    expect(story.look().runs).toEqual(['v1', 'v3']);
  });

  it('set back in the middle: weight 0, and stable', () => {
    const story = world();
    while (story.decisions.at(-1)?.weight !== 50) story.look(good);
    serve(story, 'v1');
    const decision = story.look();
    expect(decision).toMatchObject({
      front: 'v1',
      weight: 0,
      phase: 'Stable',
      events: [{ reason: 'RolloutWithdrawn' }],
    });
    expect(decision.runs).toEqual(['v1', 'v2']);
    expect(story.look().runs).toEqual(['v1']);
  });

  it('set back after the promotion: one move, at once', () => {
    const story = world().until('Holding');
    serve(story, 'v1');
    expect(story.look()).toMatchObject({ front: 'v1', weight: 0 });
    expect(story.look()).toMatchObject({ front: 'v1', phase: 'Stable', status: { stable: 'v1' } });
    expect(story.look()).toMatchObject({ front: 'v1', runs: ['v1'] });
  });

  const outcomesOf = (story: World) =>
    story.decisions.flatMap(({ outcomes }) => outcomes.map(({ type, version }) => `${type} ${version}`));

  it('set back when the Service has just moved: promoted, and back in one move', () => {
    const story = world().until('Promoting');
    expect(story.front).toBe('v2');
    serve(story, 'v1');
    expect(story.look()).toMatchObject({ front: 'v1', weight: 0, phase: 'Holding' });
    expect(story.look()).toMatchObject({ front: 'v1', phase: 'Stable', status: { stable: 'v1' } });
    expect(outcomesOf(story)).toEqual(['model.promoted v2', 'model.rolledback v2']);
  });

  it('another one when the Service has just moved: promoted, and the next begins from what serves', () => {
    const story = world().until('Promoting');
    serve(story, 'v3');
    expect(story.look()).toMatchObject({ front: 'v2', weight: 5, status: { stable: 'v2', candidate: 'v3' } });
    expect(outcomesOf(story)).toEqual(['model.promoted v2']);
  });

  it('paused when the Service has just moved: it serves, and nothing is there to pause', () => {
    const story = world().until('Promoting');
    story.say('pause');
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Holding', status: { command: { outcome: 'Refused' } } });
    expect(outcomesOf(story)).toEqual(['model.promoted v2']);
  });

  it('a gate that fails in the moment of the move: back, whatever the Service leads to', () => {
    const story = world().until('Promoting');
    expect(story.look({ traffic: { requests: 900, answers: answers(900, 900) } })).toMatchObject({
      front: 'v1',
      phase: 'RolledBack',
    });
    expect(outcomesOf(story)).toEqual(['model.rolledback v2']);
  });

  it('set back while it is paused and somebody else has moved the Service: back in one move', () => {
    const story = world();
    while (story.decisions.at(-1)?.weight !== 50) story.look(good);
    story.say('pause');
    story.look();
    story.front = 'v2';
    serve(story, 'v1');
    expect(story.look()).toMatchObject({ front: 'v1', weight: 0 });
    expect(story.look()).toMatchObject({ front: 'v1', phase: 'Stable', status: { stable: 'v1' } });
  });

  it('paused while somebody else moves the Service: it is moved back, at the same weight', () => {
    const story = world();
    while (story.decisions.at(-1)?.weight !== 50) story.look(good);
    story.say('pause');
    story.look();
    story.front = 'v2';
    expect(story.look(good)).toMatchObject({ front: 'v1', weight: 50, phase: 'Paused' });
  });

  it('set back after the promotion, while the old version is down: not to nothing', () => {
    const story = world().until('Holding');
    story.versions['v1'] = gone;
    serve(story, 'v1');
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Holding' });
    story.versions['v1'] = ready;
    expect(story.look()).toMatchObject({ front: 'v1' });
  });

  it('set back after a rollback, and forth again: tried anew', () => {
    const story = world();
    story.look();
    story.look(bad);
    serve(story, 'v1');
    expect(story.look()).toMatchObject({ phase: 'Stable', front: 'v1' });
    serve(story, 'v2');
    expect(story.look()).toMatchObject({ phase: 'Progressing', weight: 5 });
  });

  it('another version after a rollback', () => {
    const story = world();
    story.look();
    story.look(bad);
    serve(story, 'v3');
    expect(story.look()).toMatchObject({ phase: 'Progressing', status: { stable: 'v1', candidate: 'v3' } });
  });

  it('another one while the promotion is held: from what serves now', () => {
    const story = world().until('Holding');
    serve(story, 'v3');
    expect(story.look()).toMatchObject({ front: 'v2', status: { stable: 'v2', candidate: 'v3' }, weight: 5 });
  });

  it.each(['RolledBack', 'Aborted'])(
    '%s: an edit of the rollout tries it again, one of something else does not',
    (phase) => {
      const story = world();
      story.look();
      if (phase === 'Aborted') story.say('abort');
      story.look(phase === 'Aborted' ? {} : bad);
      story.wanted = { ...story.wanted, versions: ['v1', 'v2'] };
      expect(story.look()).toMatchObject({ phase });
      serve(story, 'v2', { minRequests: 200 });
      expect(story.look()).toMatchObject({ phase: 'Progressing', weight: 5 });
    },
  );

  it('what failed is known by its digest: the same name with another content is tried', () => {
    const story = world();
    story.versions['v2'] = { ...ready, digest: 'sha256:bad' };
    story.look();
    story.look(bad);
    expect(story.look().phase).toBe('RolledBack');
    story.versions['v2'] = { ...ready, digest: 'sha256:good' };
    expect(story.look()).toMatchObject({ phase: 'Progressing', status: { digest: 'sha256:good' } });
  });

  it('steps that are edited on the way: it goes on with what it has counted', () => {
    const story = world();
    while (story.decisions.at(-1)?.weight !== 50) story.look(good);
    serve(story, 'v2', { steps: [{ weight: 10, hold: '1m' }] });
    expect(story.look(good)).toMatchObject({ weight: 10, status: { step: 0 } });
    expect(story.until('Promoting').status).toMatchObject({ gates: [{ verdict: 'Pass' }] });
  });

  it('a gate that is new: all count from 0, and each key is a trial of theirs again', () => {
    const story = world();
    for (let i = 0; i < 3; i++) story.look(good);
    const before = story.status as UnderWay;
    expect(before.gates).toMatchObject([{ gate: 'errorRate', n: 200 }]);
    const gates = [...spec.gates, { disagreement: { output: 'label', max: 0.05 } }];
    serve(story, 'v2', { gates });
    story.look({ ...good, lost: true });
    story.look(good);
    const after = story.status as UnderWay;
    expect(after.gates).toMatchObject([
      { gate: 'errorRate', n: 0 },
      { gate: 'disagreement/label', n: 0 },
    ]);
    expect(after).toMatchObject({ countedFrom: timeOf(story.now), startedAt: before.startedAt, weight: before.weight });
    expect(trialsOf(after)).not.toBe(trialsOf(before));
    // Once, and not in each look from now on.
    story.look(good);
    expect(story.status).toMatchObject({ countedFrom: after.countedFrom, gates: [{ n: 100 }, { n: 0 }] });
  });

  it('a gate that is taken away, or has another limit: the others go on with what they have counted', () => {
    const story = world({ gates: [...spec.gates, { disagreement: { output: 'label', max: 0.05 } }] });
    for (let i = 0; i < 3; i++) story.look(good);
    serve(story, 'v2', { gates: [{ errorRate: { max: 0.02 } }] });
    story.look(good);
    expect(story.status).toMatchObject({ gates: [{ gate: 'errorRate', n: 300, limit: 0.02 }] });
    expect((story.status as UnderWay).countedFrom).toBeUndefined();
  });

  it('the version that serves is not declared any more: it stays until the end of the hold', () => {
    const story = world();
    story.look();
    story.wanted = { ...story.wanted, versions: ['v2'] };
    expect(story.look(good).runs).toEqual(['v1', 'v2']);
    story.until('Holding');
    expect(story.look().runs).toEqual(['v2', 'v1']);
    story.say('abort');
    expect(story.look()).toMatchObject({ front: 'v1', phase: 'Aborted' });
  });

  it('restored without status: judged from the start, and old commands do nothing', () => {
    const story = world();
    story.look();
    story.say('promote');
    story.status = undefined;
    story.weight = 50;
    expect(story.look()).toMatchObject({ phase: 'Progressing', weight: 5, front: 'v1' });
    expect(story.status).toMatchObject({ command: { outcome: 'Refused' } });
  });

  it('restored without status when the candidate had taken over', () => {
    const story = world();
    story.front = 'v2';
    expect(story.look()).toMatchObject({ phase: 'Stable', front: 'v2' });
  });

  it('the Service is lost: it leads to where it did', () => {
    const story = world();
    story.look();
    story.front = undefined;
    expect(story.look()).toMatchObject({ front: 'v1', status: { candidate: 'v2' } });
    story.until('Holding');
    story.front = undefined;
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Holding' });
    story.until('Stable');
    story.front = undefined;
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Stable' });
  });

  it('the Service is lost, with all that could be made of what it led to: as a first deployment', () => {
    const story = world();
    story.look();
    story.front = undefined;
    story.versions = {};
    story.wanted = { ...story.wanted, versions: ['v2'] };
    expect(story.look()).toMatchObject({ front: 'v2', phase: 'Stable' });
  });

  it('somebody else moves the Service to the candidate: it is moved back', () => {
    const story = world();
    story.look();
    story.look();
    story.front = 'v2';
    expect(story.look(good)).toMatchObject({ front: 'v1', phase: 'Waiting' });
    expect(story.look(good)).toMatchObject({ front: 'v1', phase: 'Progressing' });
  });
});
