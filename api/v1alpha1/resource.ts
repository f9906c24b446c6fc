import type * as z from 'zod';
import type { Rule } from '../rules.ts';
import { type EventPipeline, eventPipeline, eventPipelineCrd, eventPipelineRules } from './event-pipeline.ts';
import { type ModelDeployment, modelDeployment, modelDeploymentCrd, modelDeploymentRules } from './model-deployment.ts';

/** Anything that a user applies. */
export type Resource = ModelDeployment | EventPipeline;
export type ResourceKind = Resource['kind'];
export type ResourceStatus = NonNullable<Resource['status']>;

/** All that is known of each kind. */
export const kinds = {
  ModelDeployment: { schema: modelDeployment, rules: modelDeploymentRules, crd: modelDeploymentCrd },
  EventPipeline: { schema: eventPipeline, rules: eventPipelineRules, crd: eventPipelineCrd },
} as const satisfies Record<ResourceKind, KindDefinition>;

interface KindDefinition {
  readonly schema: z.ZodType;
  /** By the path that they hold at; `*` is each entry of a list. */
  readonly rules: ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }>;
  readonly crd: object;
}
