import type { Failure } from '../../../api/contract/pipeline.ts';
import { type ErrorCode, errorMessage } from '../../../api/errors.ts';
import type { LiveDeployment, LivePod } from './types.ts';

/** Whether it ends, or has ended. */
export const isGoing = ({ metadata, status }: LivePod): boolean =>
  metadata.deletionTimestamp !== undefined || status?.phase === 'Failed' || status?.phase === 'Succeeded';

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
  for (const { image = '', state, lastState } of [
    ...(status?.initContainerStatuses ?? []),
    ...(status?.containerStatuses ?? []),
  ]) {
    const code = waiting[state?.waiting?.reason ?? ''];
    if (code === undefined) continue;
    const { reason, exitCode } = lastState?.terminated ?? {};
    const ended = exitCode === undefined ? '' : `; it ended with ${exitCode}${reason ? ` (${reason})` : ''}`;
    const detail = `${state?.waiting?.message ?? state?.waiting?.reason ?? ''}${ended}`;
    return { code, message: errorMessage(code, { pod: metadata.name, image, detail }) };
  }
  return undefined;
}

/** A quota, a policy, an admission webhook: the ReplicaSet may not make its pods. */
export function podsRefused({ status }: LiveDeployment): Failure | undefined {
  const refused = status?.conditions?.find(({ type, status: is }) => type === 'ReplicaFailure' && is === 'True');
  if (!refused) return undefined;
  return { code: 'PodsRefused', message: errorMessage('PodsRefused', { detail: refused.message ?? '' }) };
}
