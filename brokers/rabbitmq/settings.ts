import { LevadaError } from '../../api/errors.ts';

/** Where a RabbitMQ is, and who asks. */
export interface RabbitSettings {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly vhost: string;
  readonly username: string;
  readonly password: string;
  /** PEM. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** `http(s)://HOST:PORT` of the management API. */
  readonly managementUri?: string;
}

const defaultPort = { amqp: 5672, amqps: 5671 } as const;

/**
 * @param where where it was said, for errors; the URI itself is never shown
 * @throws LevadaError SecretInvalid
 */
export function settingsFromUri(uri: string, where: string): RabbitSettings {
  const wrong = (detail: string) => new LevadaError('SecretInvalid', { found: where, detail });
  const scheme = /^(amqps?):\/\//.exec(uri)?.[1] as keyof typeof defaultPort | undefined;
  if (!scheme || !URL.canParse(uri)) throw wrong('allowed: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://…');
  const url = new URL(uri);
  const decoded = (text: string, what: string) => {
    try {
      return decodeURIComponent(text);
    } catch {
      throw wrong(`${what} is not percent-encoded UTF-8`);
    }
  };
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (host === '') throw wrong('there is no host');
  if (url.search !== '' || url.hash !== '') throw wrong('allowed: nothing behind the vhost');
  const path = url.pathname.slice(1);
  if (path.includes('/')) throw wrong('a / in the name of a vhost is written %2F');
  return {
    host: decoded(host, 'the host'),
    port: url.port === '' ? defaultPort[scheme] : Number(url.port),
    tls: scheme === 'amqps',
    vhost: url.pathname === '' ? '/' : decoded(path, 'the vhost'),
    username: url.username === '' ? 'guest' : decoded(url.username, 'the user'),
    password: url.username === '' ? 'guest' : decoded(url.password, 'the password'),
  };
}

/** `amqp://HOST:PORT/VHOST`, without user and password. */
export function shownBroker({ host, port, tls, vhost }: RabbitSettings): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return `${tls ? 'amqps' : 'amqp'}://${name}:${port}${vhost === '/' ? '' : `/${encodeURIComponent(vhost)}`}`;
}
