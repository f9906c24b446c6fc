import { AwsV4Signer } from 'aws4fetch';
import { LevadaError } from '../../api/errors.ts';
import type { Access, S3Access } from './credentials.ts';

/** Where one request of several goes, and whether credentials go with it. */
export interface Target {
  readonly url: URL;
  readonly isTrusted: boolean;
}

const mostRedirects = 5;

/**
 * Where the file of `uri` is asked for first.
 *
 * @throws LevadaError SourceInvalid
 */
export function targetOf(uri: string, access: Access): Target {
  const text = access.kind === 's3' ? s3Url(uri, access) : uri;
  if (!URL.canParse(text)) throw new LevadaError('SourceInvalid', { path: uri, detail: 'it is not a URL' });
  return { url: new URL(text), isTrusted: true };
}

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html */
function s3Url(uri: string, { region, endpoint, pathStyle }: S3Access): string {
  const { host: bucket, pathname } = new URL(uri);
  // Signed as it is sent: whatever may be escaped is.
  const key = pathname
    .split('/')
    .map((part) => encodeURIComponent(decodeURIComponent(part)).replace(/[!'()*]/g, escaped))
    .join('/');
  const { protocol, host } = new URL(endpoint ?? `https://s3.${region}.amazonaws.com`);
  // No certificate is for a name with more dots.
  const inPath = pathStyle || (endpoint === undefined && bucket.includes('.'));
  return inPath ? `${protocol}//${host}/${bucket}${key}` : `${protocol}//${bucket}.${host}${key}`;
}

const escaped = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;

/**
 * Where a redirect leads. Credentials are for the origin of the uri alone: once another one was asked, nobody gets them.
 *
 * @param count redirects before this one
 * @throws LevadaError SourceInvalid
 */
export function redirected({ url, isTrusted }: Target, location: unknown, count: number, uri: string): Target {
  const refuse = (detail: string) => new LevadaError('SourceInvalid', { path: uri, detail });
  if (count >= mostRedirects) throw refuse(`more than ${mostRedirects} redirects`);
  if (typeof location !== 'string' || !URL.canParse(location, url.href)) throw refuse('a redirect that leads nowhere');
  const next = new URL(location, url);
  if (next.protocol !== 'https:' && next.protocol !== 'http:') throw refuse(`a redirect to ${next.protocol}`);
  if (url.protocol === 'https:' && next.protocol === 'http:') throw refuse('a redirect from https to http');
  if (next.username || next.password) throw refuse('a redirect to a URL with user or password');
  return { url: next, isTrusted: isTrusted && next.origin === url.origin };
}

/** What is there of a file already, and how the server calls what it is of. */
export interface Rest {
  readonly from: number;
  /** A strong ETag, or else when it was last changed. */
  readonly validator: string;
}

interface Wishes {
  /** Ask for what is after this, if it is still the same file. */
  readonly rest?: Rest | undefined;
  /** Ask for nothing if it is still the file with this ETag. */
  readonly unless?: string | undefined;
}

/** The headers of a request, with credentials where they belong. */
export async function headersOf(
  { url, isTrusted }: Target,
  access: Access,
  { rest, unless }: Wishes,
  now: Date,
): Promise<Record<string, string>> {
  const plain = {
    accept: '*/*',
    // Ranges and the digest are of the file itself.
    'accept-encoding': 'identity',
    'user-agent': 'levada',
    ...(rest && { range: `bytes=${rest.from}-`, 'if-range': rest.validator }),
    ...(unless !== undefined && { 'if-none-match': unless }),
  };
  if (!isTrusted || access.kind === 'none') return plain;
  if (access.kind === 'http') return { ...plain, authorization: access.authorization };
  return { ...plain, ...(await signed(url, access, now)) };
}

async function signed(url: URL, access: S3Access, now: Date): Promise<Record<string, string>> {
  const { accessKeyId, secretAccessKey, sessionToken, region } = access;
  const { headers } = await new AwsV4Signer({
    method: 'GET',
    url: url.href,
    service: 's3',
    region,
    accessKeyId,
    secretAccessKey,
    ...(sessionToken !== undefined && { sessionToken }),
    datetime: now.toISOString().replace(/[:-]|\.\d{3}/g, ''),
  }).sign();
  return Object.fromEntries(headers);
}
