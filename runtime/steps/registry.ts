import type { StepAction } from '../../api/contract/pipeline.ts';
import { adoptStep } from './adopt/adopt.ts';
import { fanoutStep } from './fanout/fanout.ts';
import { httpStep } from './http/http.ts';
import { modelStep } from './model/model.ts';
import { publishStep } from './publish/publish.ts';
import { relayStep } from './relay/relay.ts';
import type { Step, StepEnvironment, StepFactory } from './step.ts';
import { transformStep } from './transform/transform.ts';

type Kind = StepAction['kind'];

/** Every kind of step: one that is missing here does not compile. */
const factories: { readonly [K in Kind]: StepFactory<K> } = {
  http: httpStep,
  model: modelStep,
  transform: transformStep,
  fanout: fanoutStep,
  relay: relayStep,
  adopt: adoptStep,
  publish: publishStep,
};

/**
 * The step of an action.
 *
 * @throws LevadaError ExpressionInvalid, InvalidValue: the action cannot work, whatever comes
 */
export function makeStep<K extends Kind>(action: Extract<StepAction, { kind: K }>, environment: StepEnvironment): Step {
  // Which member it is, TypeScript does not follow.
  const factory = factories[action.kind as K];
  return factory(action, environment);
}
