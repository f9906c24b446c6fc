import type { Problem } from '../../api/errors.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import type { Observed, UnitPlan } from '../plan/units.ts';

/** Where units run: processes here, a cluster, or nothing but memory. One conformance suite holds all of them to this. */
export interface Driver {
  /**
   * What is there for one owner, by its key (`namespace/name`).
   *
   * @param resource as it is stored: what was counted already is in its status
   * @throws LevadaError of outcome `retry` when it cannot be found out now
   */
  observe(owner: string, resource?: Resource): Promise<Observed>;
  /**
   * What is wrong with `plan`, where only the place where units run can tell: then none of it is applied. It changes nothing.
   *
   * @throws LevadaError when it cannot be found out
   */
  check?(owner: string, plan: UnitPlan): Promise<readonly Problem[]>;
  /**
   * Makes what is there match `plan`: starts, changes, removes. Resolves when that is under way, not when units are
   * ready: {@link watch} tells. Applied twice, the second time does nothing.
   *
   * @returns whether anything had to be done
   */
  apply(owner: string, plan: UnitPlan): Promise<boolean>;
  /** Calls `changed` with an owner's key whenever what {@link observe} says of it may have changed. */
  watch(changed: (owner: string) => void): void;
  /** Ends what runs, politely; resolves when it has ended. */
  close(): Promise<void>;
}
