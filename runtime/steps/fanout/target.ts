import { errorCodeOf, messageOf } from '../../../api/errors.ts';
import type { NetworkPolicy } from '../../net/address.ts';
import type { StepEnvironment } from '../step.ts';

/** Where a request goes. */
export interface Target {
  /** As the URL or the redirect says. */
  readonly url: URL;
  /** Where that is. */
  readonly address: URL;
  /** Whoever runs `levada up` said where the host is, so it may be on this machine. */
  readonly isMapped: boolean;
}

/** Why a URL is not called. */
export class TargetProblem extends Error {}

/** @throws TargetProblem, which never shows the URL: it may hold a password */
export function targetOf(text: string, environment: StepEnvironment): Target {
  return locate(parse(text), environment);
}

/**
 * Where a redirect goes. A host that is mapped is trusted as long as mapped hosts lead to it; what a stranger points at
 * is judged by its address.
 *
 * @throws TargetProblem
 */
export function redirectTarget(location: string, from: Target, environment: StepEnvironment): Target {
  const url = parse(location, from.url);
  // Never sent, and no part of what makes a circle.
  url.hash = '';
  if (from.url.protocol === 'https:' && url.protocol === 'http:') {
    throw new TargetProblem('a redirect from https to http is not followed');
  }
  // A server that knows itself by its address redirects to that.
  if (url.origin === from.address.origin) return { url, address: url, isMapped: from.isMapped };
  const target = locate(url, environment);
  return { ...target, isMapped: target.isMapped && from.isMapped };
}

export const policyOf = ({ isMapped }: Target, privateNetworks: NetworkPolicy): NetworkPolicy =>
  isMapped ? 'Allow' : privateNetworks;

function parse(text: string, base?: URL): URL {
  // URL.parse does not throw, whatever it is given.
  const url = URL.parse(text, base?.href);
  if (!url) throw new TargetProblem('it is not a URL');
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new TargetProblem(`the scheme is ${url.protocol.slice(0, -1)}; allowed: http, https`);
  }
  if (url.username !== '' || url.password !== '') throw new TargetProblem('a URL with user or password is not called');
  return url;
}

function locate(url: URL, environment: StepEnvironment): Target {
  try {
    const address = environment.resolve(url);
    return { url, address, isMapped: address.origin !== url.origin };
  } catch (error) {
    throw new TargetProblem(errorCodeOf(error) ? messageOf(error) : 'the host cannot be resolved', { cause: error });
  }
}
