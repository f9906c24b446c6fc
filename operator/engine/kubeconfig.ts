import type { RequestOptions } from 'node:https';
import { HttpMethod, type KubeConfig, RequestContext } from '@kubernetes/client-node';
import { Agent, type buildConnector, type Dispatcher } from 'undici';
import { LevadaError } from '../../api/errors.ts';
import type { Access, Credentials } from './client.ts';

/** The API server of the current context. @throws LevadaError KubeconfigInvalid without a cluster */
export function kubeconfigAccess(config: KubeConfig): Access {
  const cluster = config.getCurrentCluster();
  if (!cluster) {
    const detail = `the context ${config.getCurrentContext() || '(none)'} names no cluster`;
    throw new LevadaError('KubeconfigInvalid', { detail });
  }
  return { server: cluster.server.replace(/\/+$/, ''), credentials: () => credentialsOf(config) };
}

/** Headers and connections that the current context asks for. */
async function credentialsOf(config: KubeConfig): Promise<Credentials> {
  const context = new RequestContext('https://kubernetes.default.svc', HttpMethod.GET);
  await config.applySecurityAuthentication(context);
  const headers = context.getHeaders();
  const tls: RequestOptions = {};
  await config.applyToHTTPSOptions(tls);
  const { ca, cert, key, servername, rejectUnauthorized } = tls;
  const way = config.createDispatcherOptions(config.getCurrentCluster(), {
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
    ...(servername !== undefined && { servername }),
    ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
  });
  const proxied = context.getDispatcher() as Dispatcher | undefined;
  if (proxied && (way.type === 'proxy' || way.type === 'socks')) return { headers, dispatcher: proxied };
  await proxied?.close();
  // HTTP/1.1: all streams of an HTTP/2 session share one connection, and one that fell silent would be used for ever.
  return {
    headers,
    dispatcher: new Agent({
      allowH2: false,
      ...(way.type === 'agent' && { connect: way.connect as buildConnector.BuildOptions }),
    }),
  };
}
