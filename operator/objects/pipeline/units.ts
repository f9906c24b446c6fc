import { partName } from '../../../api/contract/names.ts';
import type { ConsumerConfig, HttpSourceConfig } from '../../../api/contract/pipeline.ts';
import type { Expose } from '../../../api/v1alpha1/expose.ts';
import type { Resources } from '../../../api/v1alpha1/pod-template.ts';
import type { PipelinePlan, PodSettings } from '../../plan/units.ts';

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
  /** What is said of its pods: those of all parts, then its own. */
  readonly pods: readonly PodSettings[];
  /** How the source is reached from outside. */
  readonly expose?: Expose;
}

/** The image of a `container` step, which listens on `port` of its pod. */
interface Handler {
  readonly step: string;
  readonly image: string;
  readonly port: number;
  readonly resources?: Resources;
}

/** Above that of http sources, which are never in a pod with a handler. */
const firstHandlerPort = 8081;

/** Name of a pipeline that is called `namespace/name`. */
export const nameOf = (pipeline: string): string => pipeline.split('/')[1] ?? '';

/** Of a step or source that consumes: the name of the unit that runs it. */
export const partOf = ({ name, group }: ConsumerConfig): string => group ?? name;

/** Consumers first: what sources let in is handled then. */
export function pipelineUnits(plan: PipelinePlan): PipelineUnit[] {
  const { topology, consumers, sources, containers, pods, exposed } = plan;
  const pipeline = nameOf(topology.pipeline);
  const podsOf = (part: string) => [pods?.all, pods?.parts?.[part]].filter((one) => one !== undefined);
  const ofConsumers = [...Map.groupBy(consumers, partOf)].map(([part, members]): PipelineUnit => {
    const steps = members.map(({ name }) => name);
    const handlers = containers
      .filter(({ step }) => steps.includes(step))
      .map(({ step, image, resources }, index) => ({
        step,
        image,
        port: firstHandlerPort + index,
        ...(resources && { resources }),
      }));
    return { name: partName(pipeline, part), pipeline, part, consumers: members, handlers, pods: podsOf(part) };
  });
  const ofSources = sources.map((source): PipelineUnit => {
    const expose = exposed?.[source.name];
    return {
      name: partName(pipeline, source.name),
      pipeline,
      part: source.name,
      consumers: [],
      source,
      handlers: [],
      pods: podsOf(source.name),
      ...(expose && { expose }),
    };
  });
  return [...ofConsumers, ...ofSources];
}
