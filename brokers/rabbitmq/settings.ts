import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { LevadaError } from '../../api/errors.ts';

/** Where a RabbitMQ is, and who asks. */
export interface RabbitSettings {
  /** A DNS name or an IP address, that of IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** What its certificate is for, where that is another name than `host`. */
  readonly serverName?: string;
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

/** What a place says of the broker; what it leaves out another one may say. */
interface Said {
  readonly host?: string;
  readonly port?: number;
  readonly vhost?: string;
  readonly username?: string;
  readonly password?: string;
}

/** Makes the error of what is wrong. `detail` never holds a value: it could be the password, in the wrong place. */
type Wrong = (detail: string) => LevadaError;

const defaultPort = { amqp: 5672, amqps: 5671 } as const;
/** Bytes of a vhost's name: a short string of AMQP. */
const maxVhostBytes = 255;

const uriForm =
  /^(amqps?):\/\/(?:([^@/?#\s]*)@)?(\[[^\]/?#@\s]*\]|[^:/?#@[\]\s]*)(?::([^/?#@\s]*))?(?:\/([^/?#@\s]*))?$/;
const uriAllowed =
  'amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, nothing behind it, and @ / ? # % inside of a part as %40 %2F %3F %23 %25';

/**
 * Settings by an AMQP URI. Without a name the vhost is `/`; without user and password it is `guest` with its password.
 *
 * @param where where it was said, for errors; the URI itself is never shown
 * @throws LevadaError SecretInvalid
 */
export function settingsFromUri(uri: string, where: string): RabbitSettings {
  const wrong: Wrong = (detail) => new LevadaError('SecretInvalid', { found: where, detail });
  const { tls, ...said } = parseUri(uri, wrong);
  return complete(said, tls, wrong);
}

/**
 * Settings by what a Secret holds: `uri`, or `host`, `port`, `username` and `password` as the RabbitMQ Cluster Operator
 * writes them, and `vhost`, `managementUri`, and PEM texts in `ca.crt`, `tls.crt` and `tls.key`. A key beside `uri` may
 * say what that leaves out, and may not contradict it. TLS is used for amqps://, and without `uri` where there is a
 * certificate or the port is 5671. Other keys are not looked at.
 *
 * @param data decoded values
 * @param name `namespace/name`, for errors
 * @throws LevadaError SecretInvalid
 */
export function settingsFromSecret(data: Readonly<Record<string, string>>, name: string): RabbitSettings {
  const wrong: Wrong = (detail) => new LevadaError('SecretInvalid', { found: `Secret ${name}`, detail });
  const of = (key: string) => (Object.hasOwn(data, key) ? withoutLineEnd(data[key]) : undefined);
  const uri = of('uri');
  const parsed = uri === undefined ? undefined : parseUri(uri, (detail) => wrong(`uri: ${detail}`));
  const { tls, ...fromUri }: Said & { tls?: boolean } = parsed ?? {};
  const fromKeys = saidByKeys(of, wrong);
  for (const [key, value] of Object.entries(fromKeys)) {
    const other = fromUri[key as keyof Said];
    if (other !== undefined && other !== value) throw wrong(`${key}: another one than in uri; allowed: one of the two`);
  }
  const said = { ...fromKeys, ...fromUri };
  if (uri === undefined) {
    for (const key of ['host', 'username', 'password'] as const) {
      if (said[key] === undefined) throw wrong(`${key}: found nothing; allowed: uri, or host, username and password`);
    }
  }
  const certificates = certificatesOf(of, wrong);
  const hasCertificate = Object.keys(certificates).length > 0;
  if (hasCertificate && tls === false) throw wrong('uri: found amqp:// beside a certificate; allowed: amqps://');
  const managementUri = managementOf(of('managementUri'), wrong);
  return {
    ...complete(said, tls ?? (hasCertificate || said.port === defaultPort.amqps), wrong),
    ...certificates,
    ...(managementUri !== undefined && { managementUri }),
  };
}

/** `amqp://HOST:PORT/VHOST`, without user and password; without a path the vhost is `/`. */
export function shownBroker({
  host,
  port,
  tls,
  vhost,
}: Pick<RabbitSettings, 'host' | 'port' | 'tls' | 'vhost'>): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return `${tls ? 'amqps' : 'amqp'}://${name}:${port}${vhost === '/' ? '' : `/${encodeURIComponent(vhost)}`}`;
}

function parseUri(uri: string, wrong: Wrong): Said & { tls: boolean } {
  const found = uriForm.exec(uri);
  if (!found) throw wrong(`it is no AMQP URI; allowed: ${uriAllowed}`);
  const [, scheme, user, host = '', port, vhost] = found;
  const decoded = (text: string, what: string) => {
    try {
      return decodeURIComponent(text);
    } catch {
      throw wrong(
        `${what}: found % without two digits behind it, or no UTF-8; allowed: percent-encoded UTF-8, % as %25`,
      );
    }
  };
  // Everything behind the first colon is the password.
  const [, username = '', password] = /^([^:]*)(?::([\s\S]*))?$/.exec(user ?? '') ?? [];
  return {
    tls: scheme === 'amqps',
    host: hostOf(host, wrong),
    ...(port !== undefined && { port: portOf(port, wrong) }),
    ...(vhost !== undefined && { vhost: vhostOf(decoded(vhost, 'vhost'), wrong) }),
    ...(user !== undefined && { username: filled(decoded(username, 'username'), 'username', wrong) }),
    ...(password !== undefined && { password: filled(decoded(password, 'password'), 'password', wrong) }),
  };
}

function saidByKeys(of: (key: string) => string | undefined, wrong: Wrong): Said {
  const [host, port, vhost] = [of('host'), of('port'), of('vhost')];
  const [username, password] = [of('username'), of('password')];
  return {
    ...(host !== undefined && { host: hostOf(host, wrong) }),
    ...(port !== undefined && { port: portOf(port, wrong) }),
    ...(vhost !== undefined && { vhost: vhostOf(vhost, wrong) }),
    ...(username !== undefined && { username: filled(username, 'username', wrong) }),
    ...(password !== undefined && { password: filled(password, 'password', wrong) }),
  };
}

function complete({ host, port, vhost = '/', username, password }: Said, tls: boolean, wrong: Wrong): RabbitSettings {
  if (host === undefined) throw wrong('host: found nothing; allowed: a DNS name or an IP address');
  if (username === undefined && password !== undefined) throw wrong('username: found nothing beside a password');
  if (username !== undefined && password === undefined) throw wrong('password: found nothing beside a user');
  return {
    host,
    port: port ?? defaultPort[tls ? 'amqps' : 'amqp'],
    tls,
    vhost,
    // What a new broker has, and lets in from its own machine only.
    username: username ?? 'guest',
    password: password ?? 'guest',
  };
}

function hostOf(text: string, wrong: Wrong): string {
  const host = text.replace(/^\[(.*)\]$/, '$1').toLowerCase();
  const isName = host.length <= 253 && host === text.toLowerCase() && /^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/.test(host);
  if (isName || (isIPv6(host) && !host.includes('%'))) return host;
  throw wrong('host: allowed: a DNS name or an IP address, the port apart');
}

function portOf(text: string, wrong: Wrong): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw wrong('port: allowed: a number from 1 to 65535');
  return port;
}

function vhostOf(text: string, wrong: Wrong): string {
  // `amqp://HOST/`: by the letter of the AMQP URI specification a vhost without a name, to every client the default one.
  if (text === '') return '/';
  if (Buffer.byteLength(text) <= maxVhostBytes && text.isWellFormed()) return text;
  throw wrong(`vhost: allowed: at most ${maxVhostBytes} bytes of UTF-8`);
}

function filled(text: string, what: string, wrong: Wrong): string {
  if (text === '') throw wrong(`${what}: found empty text; RabbitMQ lets nobody in without`);
  return text;
}

function managementOf(text: string | undefined, wrong: Wrong): string | undefined {
  if (text === undefined) return undefined;
  if (/^https?:\/\/[^/?#@\s\\]+\/?$/.test(text) && URL.canParse(text)) return new URL(text).origin;
  throw wrong('managementUri: allowed: http://HOST:PORT or https://HOST:PORT, without user, password and path');
}

/** That they can be read is seen here: a connection would fail with the words of OpenSSL. */
function certificatesOf(
  of: (key: string) => string | undefined,
  wrong: Wrong,
): Pick<RabbitSettings, 'ca' | 'cert' | 'key'> {
  const [ca, cert, key] = [of('ca.crt'), of('tls.crt'), of('tls.key')];
  if (cert === undefined && key !== undefined) throw wrong('tls.crt: found nothing beside tls.key');
  if (cert !== undefined && key === undefined) throw wrong('tls.key: found nothing beside tls.crt');
  if (ca !== undefined) certificateOf(ca, 'ca.crt', wrong);
  if (cert !== undefined && key !== undefined) {
    const certificate = certificateOf(cert, 'tls.crt', wrong);
    const fits = readable(() => certificate.checkPrivateKey(createPrivateKey(key)));
    if (fits === undefined) throw wrong('tls.key: allowed: a private key in PEM, without a passphrase');
    if (!fits) throw wrong('tls.key: it is not the key of the certificate in tls.crt');
  }
  return { ...(ca !== undefined && { ca }), ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) };
}

function certificateOf(text: string, what: string, wrong: Wrong): X509Certificate {
  const certificate = readable(() => new X509Certificate(text));
  if (certificate) return certificate;
  throw wrong(`${what}: allowed: certificates in PEM`);
}

/** What `read` gives, or `undefined` where it throws: OpenSSL's words help nobody. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Files and `echo | base64` end with one, and no password does. */
const withoutLineEnd = (text: string | undefined): string | undefined => text?.replace(/\r?\n$/, '');
