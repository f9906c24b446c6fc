import { define } from './definition.ts';

/** What comes of asking a Kubernetes API server. */
export const clusterErrors = define({
  ClusterUnavailable: {
    outcome: 'retry',
    message: 'the API server does not answer: {detail}',
    remedy: 'Nothing is lost: it is tried again with backoff. Check the address, and whether the API server runs.',
  },
  ClusterBusy: {
    outcome: 'retry',
    message: 'the API server has refused {what} for now: {detail}',
    remedy:
      'It is tried again later. Flow control (APF) limits who asks too much; in a namespace that is being deleted nothing is made.',
  },
  ClusterConflict: {
    outcome: 'retry',
    message: '{what} was changed by somebody else meanwhile: {detail}',
    remedy: 'It is read and tried again by itself.',
  },
  ClusterUnauthorized: {
    outcome: 'wait',
    message: 'the API server does not know who asks: {detail}',
    remedy: 'Renew the credentials of the kubeconfig, or of the service account.',
  },
  ClusterForbidden: {
    outcome: 'wait',
    message: 'not allowed: {detail}',
    remedy: 'Grant the verb that is named; the chart holds every role that is needed.',
  },
  ClusterQuotaExceeded: {
    outcome: 'wait',
    message: 'a quota is used up: {detail}',
    remedy: 'Raise the ResourceQuota of the namespace, or ask for less.',
  },
  ClusterNotFound: {
    outcome: 'wait',
    message: 'there is no {what}: {detail}',
    remedy: 'Apply it; where it is a kind, install the CRDs.',
  },
  ClusterExpired: {
    outcome: 'retry',
    message: 'the API server no longer has that version: {detail}',
    remedy: 'Everything is listed anew by itself.',
  },
  ClusterRefused: {
    outcome: 'terminal',
    message: 'the API server refuses {what}: {detail}',
    remedy: 'Correct the field that is named, or what the policy that is named asks for.',
  },
  PodTemplateRefused: {
    outcome: 'terminal',
    message: 'the API server refuses pods with this template: {detail}',
    remedy: 'Correct the field that is named. Nothing was applied; what ran before goes on.',
  },
  KindMissing: {
    outcome: 'wait',
    message: 'the cluster has no {kind} ({found})',
    remedy:
      'Install what brings it (for an HTTPRoute: the CRDs of the Gateway API), or ask for something else. Everything else is there.',
  },
  ObjectTaken: {
    outcome: 'wait',
    message: 'the {kind} {name} is there already, and {owner} has made it',
    remedy: 'Rename the resource, or remove what is there. Levada never takes over what others have made.',
  },
  ImageUnavailable: {
    outcome: 'wait',
    message: 'the image {image} of pod {pod} cannot be had: {detail}',
    remedy: 'Correct the name of the image, or let the node pull it (registry, pull secrets).',
  },
  ContainerFailed: {
    outcome: 'wait',
    message: 'the container of pod {pod} does not run: {detail}',
    remedy: 'Look into its log (kubectl logs POD --previous); OOMKilled: give it more memory in spec.resources.limits.',
  },
  PodUnreachable: {
    outcome: 'wait',
    message: 'pod {pod} is ready, but the operator cannot ask it at {address}: {detail}',
    remedy:
      'Let the pods of the operator reach TCP port 9090 of the pods that it makes: where a NetworkPolicy denies it, add one that allows it. They are asked again all the time.',
  },
  PodsRefused: {
    outcome: 'wait',
    message: 'pods cannot be made: {detail}',
    remedy: 'Raise the quota, or mend the policy that refuses them.',
  },
  KubeconfigInvalid: {
    outcome: 'terminal',
    message: '{detail}',
    remedy: 'Name a kubeconfig and a context that are there; `kubectl config get-contexts` lists them.',
  },
});
