import { LevadaError } from '../../api/errors.ts';
import { show } from '../../api/rules.ts';

/** Where a name leads here. */
export interface Names {
  /** Origin of what levada.local.yaml says of a host; `undefined`: it says nothing. */
  local(host: string): string | undefined;
  /** Origin of a Service that a resource of the namespace makes. */
  service(namespace: string, service: string): string | undefined;
}

/** In a pod DNS knows every name, but for those of the pod's own containers: `local`, origins by host. */
export function resolveInPod(url: URL, local: Readonly<Record<string, string>>): URL {
  const origin = Object.hasOwn(local, url.hostname) ? local[url.hostname] : undefined;
  return origin === undefined ? url : new URL(`${url.pathname}${url.search}`, origin);
}

/** `name`, `name.namespace`, `name.namespace.svc`, `name.namespace.svc.cluster.local`. */
const serviceName = /^([a-z0-9-]+)(?:\.([a-z0-9-]+)(?:\.svc(?:\.cluster\.local)?)?)?$/;

/**
 * Does what a cluster's DNS does: names of services become addresses of this machine. What has a dot and is none of
 * ours is left to DNS.
 *
 * @throws LevadaError HostUnknown
 */
export function resolveHost(url: URL, namespace: string, names: Names): URL {
  const host = url.hostname;
  const [, service = '', other] = serviceName.exec(host) ?? [];
  const origin = names.local(host) ?? (service && names.service(other ?? namespace, service));
  if (origin) return new URL(`${url.pathname}${url.search}`, origin);
  if (host.includes('.') || host.startsWith('[') || host === 'localhost') return url;
  const detail =
    'no resource makes a Service of that name, and levada.local.yaml has it under neither services nor hosts';
  throw new LevadaError('HostUnknown', { found: show(host), detail });
}
