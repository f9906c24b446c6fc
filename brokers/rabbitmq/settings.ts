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

const secretKeys = ['uri', 'host', 'port', 'username', 'password', 'vhost', 'managementUri'] as const;

/**
 * Keys as the RabbitMQ Cluster Operator writes them, or `uri`; PEM texts in `ca.crt`, `tls.crt`, `tls.key`.
 *
 * @param data decoded values
 * @param name `namespace/name`, for errors
 * @throws LevadaError SecretInvalid
 */
export function settingsFromSecret(data: Readonly<Record<string, string>>, name: string): RabbitSettings {
  const wrong = (detail: string) => new LevadaError('SecretInvalid', { found: name, detail });
  const [uri, host, port, username, password, vhost, managementUri] = secretKeys.map((key) => data[key]?.trim());
  const { 'ca.crt': ca, 'tls.crt': cert, 'tls.key': key } = data;
  if ((cert === undefined) !== (key === undefined)) throw wrong('tls.crt and tls.key belong together');
  const from = uri === undefined ? undefined : settingsFromUri(uri, `Secret ${name}, key uri`);
  const wantsTls = ca !== undefined || cert !== undefined;
  if (from && wantsTls && !from.tls)
    throw wrong('a certificate is there, and uri begins with amqp://; allowed: amqps://');
  const own = { host, username, password };
  const missing = from ? undefined : Object.entries(own).find(([, value]) => value === undefined || value === '');
  if (missing) throw wrong(`the key ${missing[0]} is missing; allowed: uri, or host, username and password`);
  const contradicts =
    from && Object.entries(own).find(([what, value]) => value !== undefined && value !== from[what as 'host']);
  if (contradicts) throw wrong(`${contradicts[0]} is another one than in uri`);
  const tls = from?.tls ?? wantsTls;
  const number = port === undefined ? (from?.port ?? defaultPort[tls ? 'amqps' : 'amqp']) : Number(port);
  if (!Number.isInteger(number) || number < 1 || number > 65_535) throw wrong('port: allowed: 1 to 65535');
  if (managementUri !== undefined && !/^https?:\/\/[^/?#@\s]+\/?$/.test(managementUri)) {
    throw wrong('managementUri: allowed: http://HOST:PORT or https://HOST:PORT, without user and password');
  }
  return {
    ...(from ?? { host: host ?? '', username: username ?? '', password: password ?? '', vhost: '/' }),
    port: number,
    tls,
    ...(vhost !== undefined && { vhost }),
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(managementUri !== undefined && { managementUri }),
  };
}

/** `amqp://HOST:PORT/VHOST`, without user and password. */
export function shownBroker({ host, port, tls, vhost }: RabbitSettings): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return `${tls ? 'amqps' : 'amqp'}://${name}:${port}${vhost === '/' ? '' : `/${encodeURIComponent(vhost)}`}`;
}
