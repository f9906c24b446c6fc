import { describe, expect, it } from 'vitest';
import { rolloutCommand } from '../../api/contract/names.ts';
import { LevadaError } from '../../api/errors.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { type Clock, commandMs, endOf, follow, give } from './follow.ts';
import type { RolloutSource } from './source.ts';
import { at, rolling, stalled, underWay } from './testing.ts';

/** A clock whose pauses take a second and no time. */
function fakeClock(): Clock & { isEnded: boolean; seconds: number } {
  return {
    isEnded: false,
    seconds: 0,
    now() {
      return new Date(at(this.seconds));
    },
    async pause() {
      this.seconds++;
    },
  };
}

const serving = { rollout: { phase: 'Stable', stable: 'v2' }, stableVersion: 'v2' } as const;

describe('give', () => {
  /** What is there once `seconds` have gone by since the command. */
  type After = (given: string, seconds: number) => ModelDeployment;
  async function given(verb: string, before: ModelDeployment, after: After) {
    const clock = fakeClock();
    let text: string | undefined;
    const source: RolloutSource = {
      look: async () => (text === undefined ? before : after(text, clock.seconds)),
      async command(command) {
        text = command;
      },
    };
    return { ...(await give(source, verb, clock)), text, seconds: clock.seconds };
  }
  const annotated = (resource: ModelDeployment, text: string): ModelDeployment => ({
    ...resource,
    metadata: { ...resource.metadata, annotations: { [rolloutCommand]: text } },
  });
  const acted = (text: string, outcome: 'Done' | 'Refused', message: string) =>
    annotated(rolling({ id: 'v2-abc-1', command: { text, time: at(0), outcome, message } }), text);

  it('names the rollout that is there, and tells what was done once that is said', async () => {
    const after: After = (text, seconds) =>
      seconds < 3 ? annotated(rolling({}), text) : acted(text, 'Done', 'paused at 25 %');
    expect(await given('pause', rolling({}), after)).toEqual({
      done: true,
      message: 'Done: paused at 25 %',
      text: 'pause/v2-abc-0',
      seconds: 3,
    });
  });

  it('tells why nothing was done', async () => {
    const refused = await given('resume', rolling({}), (text) => acted(text, 'Refused', 'nothing waits for it'));
    expect(refused).toMatchObject({ done: false, message: 'Refused: nothing waits for it', seconds: 0 });
    const none = await given('abort', rolling(undefined, serving), () => expect.unreachable());
    expect(none).toMatchObject({ done: false, message: 'Refused: no rollout is under way', text: undefined });
    const other = await given('pause', rolling({}), () => annotated(rolling({}), 'abort/v2-abc-0'));
    expect(other).toMatchObject({
      done: false,
      message: 'another command took the place of pause/v2-abc-0 before anybody had acted on it',
    });
  });

  it('gives up when nobody acts on it', async () => {
    const found = await given('pause', rolling({}), (text) => annotated(rolling({}), text));
    expect(found).toEqual({
      done: false,
      message: 'nobody has acted on pause/v2-abc-0 within 30s; it stays. Does the operator run?',
      text: 'pause/v2-abc-0',
      seconds: commandMs / 1000,
    });
  });
});

describe('endOf', () => {
  it.each<[string, ModelDeployment, version: string | undefined, serves: boolean | undefined]>([
    ['under way', rolling({}), undefined, undefined],
    ['paused', rolling({ phase: 'Paused' }), undefined, undefined],
    ['the old version is still held', rolling({ phase: 'Holding' }, { stableVersion: 'v2' }), undefined, undefined],
    ['gone back', rolling({ phase: 'RolledBack' }), undefined, false],
    ['aborted', rolling({ phase: 'Aborted' }), undefined, false],
    ['it serves', rolling(undefined, serving), undefined, true],
    ['the one that is waited for serves', rolling(undefined, serving), 'v2', true],
    ['the one that is waited for is not wanted yet', rolling(undefined, serving), 'v1', undefined],
    ['no rollout, and it serves', rolling(undefined, { stableVersion: 'v2' }), undefined, true],
    ['no rollout, and the old one serves', rolling(undefined, { stableVersion: 'v1' }), undefined, undefined],
    ['no rollout, and it cannot be loaded', rolling(undefined, stalled('no such file')), undefined, false],
    [
      'a rollout, and it cannot be loaded: a deadline ends that',
      rolling({}, stalled('no such file')),
      undefined,
      undefined,
    ],
    ['`rollout` was taken away meanwhile', rolling({}, {}, { rollout: undefined }), undefined, undefined],
    [
      '`rollout` was taken away meanwhile, and it cannot be loaded',
      rolling({}, stalled('no such file'), { rollout: undefined }),
      undefined,
      false,
    ],
    ['said of another generation', rolling(undefined, { ...serving, observedGeneration: 0 }), undefined, undefined],
    [
      'gone back from what was wanted before',
      rolling({ phase: 'RolledBack' }, { observedGeneration: 0 }),
      undefined,
      undefined,
    ],
    ['nothing is said', { ...rolling({}), status: undefined }, undefined, undefined],
  ])('%s', (_, resource, version, serves) => expect(endOf(resource, version)?.serves).toBe(serves));
});

describe('follow', () => {
  const followed = (
    looks: readonly (ModelDeployment | Error)[],
    change: Partial<Parameters<typeof follow>[1]> = {},
  ) => {
    const clock = fakeClock();
    const shown: string[] = [];
    const notes: string[] = [];
    const source: RolloutSource = {
      async look() {
        const found = looks[Math.min(clock.seconds, looks.length - 1)]!;
        if (found instanceof Error) throw found;
        return found;
      },
      command: async () => {},
    };
    const end = follow(source, {
      clock,
      show: ({ status }) => void shown.push(`${status?.rollout?.phase} ${status?.rollout?.weight ?? ''}`.trim()),
      note: (text) => void notes.push(text),
      ...change,
    });
    return { end, clock, shown, notes };
  };
  const away = new LevadaError('ClusterUnavailable', { detail: 'connect ECONNREFUSED' });

  it('shows every look until the end, also when nobody answers for a while', async () => {
    const looks = [rolling({}), away, away, rolling({ weight: 50 }), rolling(undefined, serving)];
    const { end, shown, notes } = followed(looks);
    expect(await end).toEqual({ serves: true, message: 'Version v2 serves.' });
    expect(shown).toEqual(['Progressing 25', 'Progressing 50', 'Stable']);
    expect(notes).toEqual(['the API server does not answer: connect ECONNREFUSED (ClusterUnavailable); asked again']);
  });

  it('ends with what does not pass by itself', async () => {
    await expect(followed([new LevadaError('NoRun', { detail: 'it has ended' })]).end).rejects.toMatchObject({
      code: 'NoRun',
    });
  });

  it('ends with its time, or when somebody says so', async () => {
    const late = followed([rolling(underWay)], { timeoutMs: 5_000 });
    expect(await late.end).toBeUndefined();
    expect(late.clock.seconds).toBe(5);
    const { end, clock, shown } = followed([rolling(underWay)]);
    clock.isEnded = true;
    expect(await end).toBeUndefined();
    expect(shown).toHaveLength(1);
  });
});
