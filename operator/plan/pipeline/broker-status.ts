import type { BrokerState, Failure } from '../../../api/contract/pipeline.ts';
import { type ErrorCode, errors } from '../../../api/errors.ts';
import type { ConditionType } from '../../../api/v1alpha1/common.ts';
import type { EventPipelineStatus } from '../../../api/v1alpha1/event-pipeline.ts';
import { bounded } from '../bounded.ts';
import type { Said } from '../conditions.ts';

/** The broker as the status shows it; `undefined` as long as nothing is known of it. */
export function brokerStatus(broker: BrokerState | undefined): EventPipelineStatus['broker'] {
  if (!broker) return undefined;
  const { kind, version, settings } = broker;
  return {
    kind,
    ...(version !== undefined && { version: bounded(version, 64) }),
    ...(settings !== undefined && { settings }),
  };
}

/** Why a pipeline cannot run on its broker: without a connection, what the queues are like is not known. */
export const brokerFailure = (broker: BrokerState | undefined): Failure | undefined =>
  broker?.connection ?? broker?.topology;

/** What the two conditions of the broker say. */
export function sayBroker(broker: BrokerState | undefined): Partial<Record<ConditionType, Said>> {
  if (!broker) return { BrokerConnected: unknown, TopologyReady: unknown };
  return { BrokerConnected: sayConnected(broker), TopologyReady: sayTopology(broker) };
}

const unknown: Said = { status: 'Unknown', reason: 'Progressing', message: 'Nothing is known of the broker yet.' };

function sayConnected({ kind, version, connection, blocked }: BrokerState): Said {
  if (connection) return sayFailure(connection);
  if (blocked) return { ...sayFailure(blocked), status: 'True' };
  if (kind === 'memory')
    return { status: 'True', reason: 'Memory', message: 'Messages are in the memory of this run.' };
  const which = bounded(version ?? '', 64);
  return { status: 'True', reason: 'Connected', message: `Connected to RabbitMQ ${which}`.trim() };
}

function sayTopology({ kind, connection, topology, settings, mended }: BrokerState): Said {
  if (topology) return sayFailure(topology);
  if (connection) {
    return { status: 'Unknown', reason: connection.code, message: 'Not known as long as there is no connection.' };
  }
  if (kind === 'memory') return { status: 'True', reason: 'Memory', message: 'Queues are in the memory of this run.' };
  const kept = settings === undefined ? '' : ` ${keptIn[settings]}`;
  const gap = mended
    ? ` At ${mended.at} there was no ${mended.what.join(', no ')}: made anew, and what came meanwhile may be lost.`
    : '';
  const message = bounded(`Queues and bindings are as they should be.${kept}${gap}`);
  return { status: 'True', reason: 'Declared', message };
}

const keptIn = {
  Policies: 'Policies hold the settings that can change.',
  Arguments: 'The user may set no policies: a change of the settings makes the queues anew.',
} as const;

/** A failure with its remedy. */
export function sayFailure({ code, message }: Failure): Said {
  const remedy = errors[code as ErrorCode]?.remedy ?? '';
  return { status: 'False', reason: code, message: bounded(`${message}. ${remedy}`.trim()) };
}
