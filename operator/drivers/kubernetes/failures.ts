import { containerPorts } from '../../../api/contract/names.ts';
import type { Failure } from '../../../api/contract/pipeline.ts';
import { type ErrorCode, errorMessage, errors } from '../../../api/errors.ts';
import { fetchContainer } from '../../objects/fetch.ts';
import type { LiveDeployment, LivePod } from './types.ts';

/** Whether its processes have ended for good: an evicted pod is kept, for people to look at. */
export const hasEnded = ({ status }: LivePod): boolean => status?.phase === 'Failed' || status?.phase === 'Succeeded';

/** Whether it ends, or has ended. */
export const isGoing = (pod: LivePod): boolean => pod.metadata.deletionTimestamp !== undefined || hasEnded(pod);

/** As the kubelet says. */
export const isPodReady = ({ status }: LivePod): boolean =>
  status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') ?? false;

/** Whether pods of an older template may still be started, or are there. */
export function isRolling({ metadata: { generation = 0 }, status = {} }: LiveDeployment): boolean {
  const { observedGeneration = 0, replicas = 0, updatedReplicas = 0 } = status;
  return observedGeneration < generation || replicas !== updatedReplicas || replicas === 0;
}

/** An address as URLs have it. */
export const hostOf = (podIP: string): string => (podIP.includes(':') ? `[${podIP}]` : podIP);

/** Why the kubelet cannot start a container. */
const waiting: Readonly<Record<string, ErrorCode>> = {
  ErrImagePull: 'ImageUnavailable',
  ImagePullBackOff: 'ImageUnavailable',
  ErrImageNeverPull: 'ImageUnavailable',
  InvalidImageName: 'ImageUnavailable',
  CrashLoopBackOff: 'ContainerFailed',
  CreateContainerConfigError: 'ContainerFailed',
  CreateContainerError: 'ContainerFailed',
  RunContainerError: 'ContainerFailed',
};

export function containerFailure({ metadata, status }: LivePod): Failure | undefined {
  for (const { name, image = '', state, lastState } of [
    ...(status?.initContainerStatuses ?? []),
    ...(status?.containerStatuses ?? []),
  ]) {
    const report = name === fetchContainer && reportOf(state?.terminated ?? lastState?.terminated);
    if (report) return report;
    const code = waiting[state?.waiting?.reason ?? ''];
    if (code === undefined) continue;
    const { reason, exitCode } = lastState?.terminated ?? {};
    const ended = exitCode === undefined ? '' : `; it ended with ${exitCode}${reason ? ` (${reason})` : ''}`;
    const detail = `${state?.waiting?.message ?? state?.waiting?.reason ?? ''}${ended}`;
    return { code, message: errorMessage(code, { pod: metadata.name, image, detail }) };
  }
  return undefined;
}

/** What the container that fetches a model has said last. A pod is not trusted: what it says comes in this shape only. */
function reportOf(ended: { readonly exitCode?: number; readonly message?: string } | undefined): Failure | undefined {
  if (!ended?.exitCode || !ended.message?.startsWith('{')) return undefined;
  try {
    const { code, message } = JSON.parse(ended.message) as { code?: unknown; message?: unknown };
    const isReport = typeof code === 'string' && Object.hasOwn(errors, code) && typeof message === 'string';
    return isReport ? { code, message: message.slice(0, 2_048) } : undefined;
  } catch {
    return undefined;
  }
}

/** Of pods that the kubelet says are ready: which of them cannot be asked. @param silenceOf by uid; `undefined`: of none */
export function podUnreachable(
  pods: readonly LivePod[],
  silenceOf: (uid: string) => string | undefined,
): Failure | undefined {
  for (const { metadata, status } of pods) {
    const detail = silenceOf(metadata.uid ?? '');
    if (detail === undefined) continue;
    const address = `${hostOf(status?.podIP ?? '')}:${containerPorts.admin}`;
    return {
      code: 'PodUnreachable',
      message: errorMessage('PodUnreachable', { pod: metadata.name, address, detail }),
    };
  }
  return undefined;
}

/** A quota, a policy, an admission webhook: the ReplicaSet may not make its pods. */
export function podsRefused({ status }: LiveDeployment): Failure | undefined {
  const refused = status?.conditions?.find(({ type, status: is }) => type === 'ReplicaFailure' && is === 'True');
  if (!refused) return undefined;
  return { code: 'PodsRefused', message: errorMessage('PodsRefused', { detail: refused.message ?? '' }) };
}
