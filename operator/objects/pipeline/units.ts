import { partName } from '../../../api/contract/names.ts';
import type { ConsumerConfig, HttpSourceConfig } from '../../../api/contract/pipeline.ts';
import type { PipelinePlan } from '../../plan/units.ts';

/** What one Deployment of a pipeline runs: the consumers of a step or a group, or one http source. */
export interface PipelineUnit {
  /** `<pipeline>-<part>`. */
  readonly name: string;
  /** Name of the pipeline, without its namespace. */
  readonly pipeline: string;
  /** Name of the step, the group or the source. */
  readonly part: string;
  readonly consumers: readonly ConsumerConfig[];
  readonly source?: HttpSourceConfig;
  /** Handlers that run in the same pod. */
  readonly handlers: readonly Handler[];
}

/** The image of a `container` step, which listens on `port` of its pod. */
interface Handler {
  readonly step: string;
  readonly image: string;
  readonly port: number;
}

/** Above that of http sources, which are never in a pod with a handler. */
const firstHandlerPort = 8081;

/** Name of a pipeline that is called `namespace/name`. */
export const nameOf = (pipeline: string): string => pipeline.split('/')[1] ?? '';

/** Of a step or source that consumes: the name of the unit that runs it. */
export const partOf = ({ name, group }: ConsumerConfig): string => group ?? name;

/** Consumers first: what sources let in is handled then. */
export function pipelineUnits({ topology, consumers, sources, containers }: PipelinePlan): PipelineUnit[] {
  const pipeline = nameOf(topology.pipeline);
  const ofConsumers = [...Map.groupBy(consumers, partOf)].map(([part, members]): PipelineUnit => {
    const steps = members.map(({ name }) => name);
    const handlers = containers
      .filter(({ step }) => steps.includes(step))
      .map(({ step, image }, index) => ({ step, image, port: firstHandlerPort + index }));
    return { name: partName(pipeline, part), pipeline, part, consumers: members, handlers };
  });
  const ofSources = sources.map(
    (source): PipelineUnit => ({
      name: partName(pipeline, source.name),
      pipeline,
      part: source.name,
      consumers: [],
      source,
      handlers: [],
    }),
  );
  return [...ofConsumers, ...ofSources];
}
