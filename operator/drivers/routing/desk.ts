import { namespacedName } from '../../../api/contract/names.ts';
import type { RoutingStatus, RoutingTable, SignedRoutingTable } from '../../../api/contract/routing-table.ts';
import { messageOf } from '../../../api/errors.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import type { Resource } from '../../../api/v1alpha1/resource.ts';
import { stableToCompare, stepKey } from '../../plan/rollout/gates.ts';
import { judgedPhases, switchWhenReady, trialsOf } from '../../plan/rollout/look.ts';
import { durationMs } from '../../plan/rollout/time.ts';
import type { Traffic } from '../../plan/rollout/types.ts';
import { askAdmin } from '../admin-port.ts';
import { type AskSteps, began, type Report, routingReport, routingStatus } from './report.ts';
import type { Signer } from './signing.ts';
import { type StepReports, TrafficLog } from './traffic.ts';

/** A process, by its admin port. */
export interface Told {
  /** `http://HOST:PORT` */
  readonly admin: string;
  /** What it has said last. */
  readonly routing?: RoutingStatus | undefined;
}

export interface DeskOptions {
  readonly signer: () => Promise<Signer>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: (text: string) => void;
  readonly askSteps: AskSteps;
}

/** Between two tries at a process that does not take its table. */
const againMs = 1_000;
const largestReport = 2 ** 20;

/** Tells pods who answers which request, and asks them what became of it. */
export class RoutingDesk {
  readonly #options: DeskOptions;
  readonly #log = new TrafficLog();
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(options: DeskOptions) {
    this.#options = options;
  }

  /** @throws LevadaError: the key cannot be had */
  async sign(table: RoutingTable): Promise<SignedRoutingTable> {
    return (await this.#options.signer()).sign(table);
  }

  /** For pods: SPKI form, base64. @throws LevadaError as {@link sign} */
  async keys(): Promise<readonly string[]> {
    return (await this.#options.signer()).publicKeys;
  }

  /**
   * Tells those that have another table. Never rejects.
   *
   * @param again called after a moment, where one could not be told
   * @returns what each that was told says now, by admin URL
   */
  async tell(
    owner: string,
    signed: SignedRoutingTable,
    processes: readonly Told[],
    again: () => void,
  ): Promise<ReadonlyMap<string, RoutingStatus>> {
    const { generation } = signed.table;
    const body = JSON.stringify(signed);
    const taken = new Map<string, RoutingStatus>();
    let failed = false;
    await Promise.all(
      processes.map(async ({ admin, routing }) => {
        if (routing?.generation === generation) return;
        try {
          taken.set(admin, await put(`${admin}/routing`, body));
        } catch (error) {
          failed = true;
          this.#options.log(`${owner}: ${admin} has not taken routing table ${generation}: ${messageOf(error)}`);
        }
      }),
    );
    clearTimeout(this.#timers.get(owner));
    this.#timers.delete(owner);
    if (failed) this.#timers.set(owner, setTimeout(again, againMs).unref());
    return taken;
  }

  /**
   * What was counted since the status said so last, once that is an interval ago. Never rejects: what does not answer is asked
   * the next time.
   *
   * @param admins of the processes that share requests out
   */
  async traffic(
    owner: string,
    resource: Resource | undefined,
    admins: readonly string[],
  ): Promise<Traffic | undefined> {
    const rollout = resource?.kind === 'ModelDeployment' ? resource.status?.rollout : undefined;
    if (!rollout || !judgedPhases.includes(rollout.phase)) {
      this.#log.forget(owner);
      return undefined;
    }
    const { countedUntil = '', countedFrom, candidate = '', startedAt = '', stable, weight = 0 } = rollout;
    const since = Date.parse(countedUntil);
    const isDue = this.#options.now() - since >= intervalMs(resource as ModelDeployment);
    if (!isDue && this.#log.has(owner)) return undefined;
    const [reports, steps] = await Promise.all([
      Promise.all(admins.map((admin) => this.#reportOf(admin))),
      this.#stepsOf(resource as ModelDeployment),
    ]);
    const now = this.#options.now();
    const said = reports.filter((report) => report !== undefined);
    this.#log.add(owner, said, now, steps);
    const about = {
      ...{ candidate, stable, weight },
      rollout: trialsOf({ candidate, startedAt, ...(countedFrom !== undefined && { countedFrom }) }),
      until: now,
      leastStable: leastStableOf(resource as ModelDeployment),
    };
    if (!isDue) return undefined;
    const unknownOutputs = said.find((report) => report.unknownOutputs)?.unknownOutputs;
    return { ...this.#log.take(owner, since, about), ...(unknownOutputs && { unknownOutputs }) };
  }

  /** What the steps say that gates name. */
  async #stepsOf({ metadata, spec }: ModelDeployment): Promise<StepReports> {
    const named = (spec.rollout?.gates ?? []).flatMap(({ deadLetters }) => deadLetters ?? []);
    const asked = named.map(async ({ pipeline, step }) => {
      const name = namespacedName({ ...metadata, name: pipeline });
      return [stepKey(pipeline, step), await this.#options.askSteps(name, step)] as const;
    });
    return new Map(await Promise.all(asked));
  }

  async #reportOf(admin: string): Promise<Report | undefined> {
    try {
      const askedAt = this.#options.now();
      const { status, text } = await askAdmin(`${admin}/routing`, largestReport);
      if (status !== 200) return undefined;
      const { countedMs, ...report } = routingReport.parse(JSON.parse(text));
      return { ...report, ...began(askedAt, countedMs) };
    } catch {
      return undefined; // it ends, or has only begun
    }
  }

  /** The owner is gone. */
  forget(owner: string): void {
    this.#log.forget(owner);
    clearTimeout(this.#timers.get(owner));
    this.#timers.delete(owner);
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
  }
}

const intervalMs = ({ spec }: ModelDeployment): number => durationMs((spec.rollout ?? switchWhenReady).interval);

/** All latency gates are looked at together, once there are enough for each. */
const leastStableOf = ({ spec }: ModelDeployment): number =>
  Math.max(
    0,
    ...(spec.rollout?.gates ?? []).flatMap(({ latency }) => (latency ? stableToCompare(latency.quantile) : [])),
  );

/** @throws Error: it is not there, or refuses the table */
async function put(url: string, body: string): Promise<RoutingStatus> {
  const { status, text } = await askAdmin(url, largestReport, body);
  if (status !== 200) throw new Error(`${status} ${text.slice(0, 500)}`);
  return routingStatus.parse(JSON.parse(text)) as RoutingStatus;
}
