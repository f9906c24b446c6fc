import { LevadaError } from '../../api/errors.ts';

/** With which right a file is asked for. */
export type Access =
  | { readonly kind: 'none' }
  | { readonly kind: 'http'; readonly authorization: string }
  | ({ readonly kind: 's3' } & S3Access);

export interface S3Access {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly region: string;
  /** Origin of an S3 of one's own. */
  readonly endpoint?: string;
  /** Whether the bucket is in the path of URLs, and not in their host. */
  readonly pathStyle: boolean;
}

/** A Secret, as far as it is there. */
export interface FetchSecret {
  readonly name: string;
  readonly values: Readonly<Record<string, string>>;
}

/** Keys of a Secret by what they say: the first that is there counts. */
const keys = {
  username: ['username'],
  password: ['password'],
  token: ['token'],
  accessKeyId: ['accessKeyId', 'AWS_ACCESS_KEY_ID'],
  secretAccessKey: ['secretAccessKey', 'AWS_SECRET_ACCESS_KEY'],
  sessionToken: ['sessionToken', 'AWS_SESSION_TOKEN'],
  region: ['region', 'AWS_REGION', 'AWS_DEFAULT_REGION'],
  endpoint: ['endpoint', 'AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL'],
  pathStyle: ['pathStyle'],
} as const satisfies Record<string, readonly string[]>;
type Key = keyof typeof keys;

/** Every key that may be read of a Secret. */
export const secretKeys: readonly string[] = Object.values(keys).flat();

/**
 * What a Secret says of how `uri` is asked for. No message shows a value.
 *
 * @throws LevadaError SecretInvalid
 */
export function accessOf(uri: string, secret: FetchSecret | undefined): Access {
  if (!secret) return { kind: 'none' };
  const wrong = (detail: string) => new LevadaError('SecretInvalid', { found: `Secret ${secret.name}`, detail });
  const value = (key: Key): string | undefined => {
    const name = keys[key].find((one) => Object.hasOwn(secret.values, one));
    // Files and `kubectl create secret --from-file` end in a line break that nobody means.
    const text = name === undefined ? undefined : secret.values[name]?.replace(/\r?\n$/, '');
    if (name !== undefined && text !== undefined && /[^\t\x20-\x7e\x80-\u{10ffff}]/u.test(text)) {
      throw wrong(`${name} holds a line break or another control character`);
    }
    return text === '' ? undefined : text;
  };
  return uri.startsWith('s3:') ? s3Access(value, wrong) : httpAccess(value, wrong);
}

type Value = (key: Key) => string | undefined;
type Wrong = (detail: string) => LevadaError;

function httpAccess(value: Value, wrong: Wrong): Access {
  const [username, password, token] = [value('username'), value('password'), value('token')];
  if (token !== undefined) {
    if (username !== undefined || password !== undefined) throw wrong('it has both token and username or password');
    if (!/^[!-~]+$/.test(token)) throw wrong('token holds a space, or what is beyond ASCII');
    return { kind: 'http', authorization: `Bearer ${token}` };
  }
  if (username === undefined || password === undefined) {
    throw wrong('it is not there, or has neither token nor both username and password');
  }
  if (username.includes(':')) throw wrong('username holds a colon');
  return { kind: 'http', authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` };
}

function s3Access(value: Value, wrong: Wrong): Access {
  const [accessKeyId, secretAccessKey] = [value('accessKeyId'), value('secretAccessKey')];
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw wrong('it is not there, or lacks accessKeyId or secretAccessKey');
  }
  const sessionToken = value('sessionToken');
  for (const [name, text] of Object.entries({ accessKeyId, secretAccessKey, sessionToken })) {
    if (text !== undefined && !/^[!-~]+$/.test(text)) throw wrong(`${name} holds a space, or what is beyond ASCII`);
  }
  const region = value('region') ?? 'us-east-1';
  if (!/^[a-z0-9-]{1,64}$/.test(region)) throw wrong('region is not lower-case letters, digits and -');
  const endpoint = originOf(value('endpoint'), wrong);
  const style = value('pathStyle') ?? String(endpoint !== undefined);
  if (style !== 'true' && style !== 'false') throw wrong('pathStyle is neither true nor false');
  return {
    kind: 's3',
    accessKeyId,
    secretAccessKey,
    ...(sessionToken !== undefined && { sessionToken }),
    region,
    ...(endpoint !== undefined && { endpoint }),
    pathStyle: style === 'true',
  };
}

function originOf(text: string | undefined, wrong: Wrong): string | undefined {
  if (text === undefined) return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isOrigin = url && /^https?:$/.test(url.protocol) && url.pathname === '/' && !url.search && !url.hash;
  if (!isOrigin || url.username || url.password) throw wrong('endpoint is not http://HOST:PORT or https://HOST:PORT');
  return url.origin;
}
