import { isDeepStrictEqual } from 'node:util';
import { type ErrorCode, errorCodeOf, errors, messageOf, type Problem } from '../api/errors.ts';
import type { Resource, ResourceStatus } from '../api/v1alpha1/resource.ts';
import type { Driver } from './drivers/driver.ts';
import type { Told } from './engine/events.ts';
import { podTemplateProblems } from './objects/pod-templates.ts';
import { refusedStatus, withFailure } from './plan/failed.ts';
import type { Neighbours } from './plan/neighbours.ts';
import { plan } from './plan/plan.ts';
import { isLeaving, nothing, type Observed, type Place, type UnitPlan } from './plan/units.ts';

/** Where resources and their status are: a set of files here, the API server on a cluster. */
export interface Store {
  get(key: string): Promise<Stored | undefined>;
  /** What a resource may refer to. */
  neighbours(resource: Resource): Promise<Neighbours>;
  writeStatus(resource: Resource, status: ResourceStatus): Promise<void>;
  /** Says what has happened, once. Never rejects. */
  tell(resource: Resource, events: readonly Told[]): Promise<void>;
}

export interface Stored {
  /** With `problems`, only its metadata and its status are what they should be. */
  readonly resource: Resource;
  readonly problems: readonly Problem[];
}

export interface LookOptions {
  /** Default: a laptop. */
  readonly place?: Place;
  /** Looks in a row that have failed before this one. */
  readonly failures?: number;
}

/** What passes by itself has passed by then; what has not is said. */
const failuresUnsaid = 2;

/**
 * One look at one resource: observe, plan, apply, and then, once, the status. What is there decides, not what has
 * happened. Called again when nothing has changed, it writes nothing.
 *
 * @returns milliseconds after which it is to be looked at again, whatever happens
 * @throws what kept it from that, where trying again may help
 */
export async function reconcile(
  key: string,
  store: Store,
  driver: Driver,
  now: () => Date,
  { place = 'Laptop', failures = 0 }: LookOptions = {},
): Promise<number | undefined> {
  const stored = await store.get(key);
  if (!stored) {
    await driver.apply(key, nothing);
    return undefined;
  }
  const { resource, problems } = stored;
  const time = now().toISOString();
  const write = async (status: ResourceStatus): Promise<undefined> => {
    if (!isDeepStrictEqual(status, resource.status)) await store.writeStatus(resource, status);
  };
  // What ran before goes on.
  if (problems.length > 0 && !isLeaving(resource)) {
    return await write(refusedStatus(resource, problems, time, resource.status));
  }
  const observed = await driver.observe(key, resource);
  const neighbours = await store.neighbours(resource);
  const { status, events = [], lookAgainAt, ...wanted } = plan(resource, observed, neighbours, time, place);
  const lookAgain = () => (lookAgainAt === undefined ? undefined : Date.parse(lookAgainAt) - now().getTime());
  // What was decided is in the status: it is not decided, nor said, again.
  const say = async (said: ResourceStatus, isFailure = false): Promise<void> => {
    if (!isFailure || !saysAlike(said, resource.status, withoutNumbers)) await write(said);
    if (events.length > 0) await store.tell(resource, events);
  };
  let said = status;
  let isRefused = false;
  try {
    const refused = podTemplateProblems(resource, wanted);
    if (refused.length === 0) refused.push(...((await driver.check?.(key, wanted)) ?? []));
    // What ran before goes on, and the rest of the status still speaks of that.
    isRefused = refused.length > 0;
    if (isRefused) said = refusedStatus(resource, refused, time, status);
    const applied = isRefused ? goingOn(wanted, observed) : wanted;
    if (applied) await driver.apply(key, applied);
  } catch (error) {
    const code = errorCodeOf(error);
    if (code === undefined) throw error;
    const failed = withFailure(resource, said, { code, message: messageOf(error) }, time);
    // What passes by itself is not worth a status, which would be another one a moment later; nor are other words for it.
    const isPassing = failures < failuresUnsaid || saysAlike(failed, resource.status, noWords);
    if (errors[code].outcome === 'retry' && isPassing) throw error;
    await say(failed, true);
    // A rollout goes on meanwhile, or back.
    if (isFinal(code)) return afterRefusal(lookAgain());
    throw error;
  }
  await say(said, isRefused);
  return isRefused ? afterRefusal(lookAgain()) : lookAgain();
}

/**
 * Of a plan whose pods nobody takes: those that run, as they run, and who gets which request. A rollout that goes back must not
 * wait for an edit to be mended. `undefined`: nothing of it can be made.
 */
function goingOn(wanted: UnitPlan, { units }: Observed): UnitPlan | undefined {
  if (!wanted.routing || !wanted.fronts.every(({ target }) => units[target])) return undefined;
  return { ...wanted, units: Object.values(units).map(({ unit }) => unit) };
}

/** Whether two say the same, where of their messages only `words` counts. */
function saysAlike(
  one: ResourceStatus,
  other: ResourceStatus | undefined,
  words: (message: string) => string,
): boolean {
  const reworded = (status: ResourceStatus) => ({
    ...status,
    conditions: status.conditions.map((condition) => ({ ...condition, message: words(condition.message) })),
  });
  return other !== undefined && isDeepStrictEqual(reworded(one), reworded(other));
}

/** Those of the network name another port each time. */
const noWords = (): string => '';

/**
 * An admission webhook may name the request, or the time, in its refusal. A status for each of them would be a change, for which
 * the resource is looked at again, and so on.
 */
const withoutNumbers = (message: string): string => message.replace(/[\w-]*\d[\w-]*/g, '#');

/** Milliseconds after which what was refused for good is looked at again: of an admission policy that is mended no watch tells. */
const refusedMs = 600_000;
const afterRefusal = (plannedMs = refusedMs): number => Math.min(plannedMs, refusedMs);

/** Whether nothing but a change helps, of the resource or of what refuses it. */
const isFinal = (code: ErrorCode): boolean => errors[code].outcome === 'terminal';
