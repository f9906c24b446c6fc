import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { errorCodeOf, type LevadaError } from '../../api/errors.ts';
import { type RabbitSettings, settingsFromSecret, settingsFromUri, shownBroker } from './settings.ts';

const guest = { username: 'guest', password: 'guest' };
const uriOf = (uri: string) => settingsFromUri(uri, 'LEVADA_BROKER_URL');
const secretOf = (data: Record<string, string>) => settingsFromSecret(data, 'shop/broker');

/** The text of the SecretInvalid that `make` throws: any other end fails the test. */
function refusal(make: () => unknown): string {
  try {
    make();
  } catch (error) {
    if (errorCodeOf(error) !== 'SecretInvalid') throw error;
    const { message, cause } = error as Error;
    expect(cause).toBeUndefined();
    return message;
  }
  throw new Error('it was taken');
}

/** A certificate that signs itself, and its key. */
function certificate(name: string): { cert: string; key: string } {
  const parameters = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
  const pem = execFileSync('openssl', ['req', '-x509', ...parameters, '-subj', `/CN=${name}`, '-keyout', '-'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    encoding: 'utf8',
  });
  const [key = ''] = /-----BEGIN PRIVATE KEY-----[\s\S]*?-----END PRIVATE KEY-----\n/.exec(pem) ?? [];
  const [cert = ''] = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n/.exec(pem) ?? [];
  return { cert, key };
}

describe('settingsFromUri', () => {
  const plain = { host: 'h', port: 5672, tls: false, vhost: '/', ...guest };
  it.each<[string, RabbitSettings]>([
    ['amqp://h', plain],
    ['amqps://h', { ...plain, port: 5671, tls: true }],
    ['amqp://h/', plain],
    ['amqp://h/%2F', plain],
    ['amqp://h/%2f', plain],
    ['amqp://h/shop', { ...plain, vhost: 'shop' }],
    ['amqp://h/a%2Fb%20%C3%A9', { ...plain, vhost: 'a/b é' }],
    ['amqps://h:5672', { ...plain, tls: true }],
    ['amqp://h:1', { ...plain, port: 1 }],
    ['amqp://h:65535', { ...plain, port: 65_535 }],
    ['amqp://u:p@h', { ...plain, username: 'u', password: 'p' }],
    ['amqp://u:p:q@h', { ...plain, username: 'u', password: 'p:q' }],
    ['amqp://a%3Ab:%40%2F%3F%23%25%F0%9F%90%87@h', { ...plain, username: 'a:b', password: '@/?#%🐇' }],
    ['amqp://u:+$&=é@h', { ...plain, username: 'u', password: '+$&=é' }],
    ['amqp://127.0.0.1:5673/v', { ...plain, host: '127.0.0.1', port: 5673, vhost: 'v' }],
    ['amqp://[::1]', { ...plain, host: '::1' }],
    ['amqps://u:p@[2001:DB8::7]:5673/v', { host: '2001:db8::7', port: 5673, tls: true, vhost: 'v', username: 'u', password: 'p' }],
    ['amqp://Rabbit-1.my_net.example', { ...plain, host: 'rabbit-1.my_net.example' }],
  ])('takes %s', (uri, expected) => expect(uriOf(uri)).toEqual(expected)); // biome-ignore format: one line a row

  const form = /^LEVADA_BROKER_URL: it is no AMQP URI; allowed: amqp:\/\/USER:PASSWORD@HOST:PORT\/VHOST or amqps:/;
  const host = 'LEVADA_BROKER_URL: host: allowed: a DNS name or an IP address, the port apart';
  const port = 'LEVADA_BROKER_URL: port: allowed: a number from 1 to 65535';
  const encoded = (what: string) => new RegExp(`^LEVADA_BROKER_URL: ${what}: found % without two digits behind it`);
  it.each<[string, string, string | RegExp]>([
    ['nothing', '', form],
    ['no scheme', 'h:5672', form],
    ['another scheme', 'http://u:p@h', form],
    ['an unknown scheme', 'amqpx://u:p@h', form],
    ['a scheme without slashes', 'amqp:h', form],
    ['a space before it', ' amqp://h', form],
    ['a line end inside of it', 'amqp://u:a\nb@h', form],
    ['a query', 'amqp://h?heartbeat=1', form],
    ['a query behind the vhost', 'amqp://h/v?heartbeat=1', form],
    ['a fragment', 'amqp://h/v#x', form],
    ['a / in a password', 'amqp://u:s/ecret@h', form],
    ['a / behind digits in a password, which could be a port and a vhost', 'amqp://u:1/ecret@h', form],
    ['a # in a password', 'amqp://u:1#ecret@h', form],
    ['an @ in a password', 'amqp://u:s@ecret@h', form],
    ['a / in a vhost', 'amqp://h/a/b', form],
    ['several hosts', 'amqp://a,b', host],
    ['no host', 'amqp:///v', host],
    ['no host behind a user', 'amqp://u:p@:5672', host],
    ['a host with %', 'amqp://a%2Eb', host],
    ['a host with a letter that DNS has not', 'amqp://é', host],
    ['a broken IPv6 address', 'amqp://[::1', form],
    ['an IPv6 address with too much in it', 'amqp://[1::2::3]', host],
    ['an IPv6 address with a zone', 'amqp://[fe80::1%25eth0]', host],
    ['a name in brackets', 'amqp://[h]', host],
    ['a host that is too long', `amqp://${'a'.repeat(254)}`, host],
    ['port 0', 'amqp://h:0', port],
    ['port 65536', 'amqp://h:65536', port],
    ['a port without end', 'amqp://h:00005672', port],
    ['a port that is a word', 'amqp://h:amqp', port],
    ['a port of nothing', 'amqp://h:/v', port],
    ['a port of two', 'amqp://h:5672:5673', port],
    ['a user that is no UTF-8', 'amqp://%ff:p@h', encoded('username')],
    ['a password with %', 'amqp://u:100%@h', encoded('password')],
    ['a vhost with %', 'amqp://h/%zz', encoded('vhost')],
    ['a vhost that is too long', `amqp://h/${'%C3%A9'.repeat(128)}`, /: vhost: allowed: at most 255 bytes of UTF-8$/],
    ['no user before a password', 'amqp://:p@h', /: username: found empty text; RabbitMQ lets nobody in without$/],
    ['nothing before the @', 'amqp://@h', /: username: found empty text/],
    ['a user without a password', 'amqp://u@h', /: password: found nothing beside a user$/],
    ['a user with an empty password', 'amqp://u:@h', /: password: found empty text/],
  ])('refuses %s', (_, uri, expected) =>
    typeof expected === 'string'
      ? expect(refusal(() => uriOf(uri))).toBe(expected)
      : expect(refusal(() => uriOf(uri))).toMatch(expected),
  );
});

describe('settingsFromSecret', () => {
  const own = { host: 'h', username: 'u', password: 'p' };
  const plain = { ...own, port: 5672, tls: false, vhost: '/' };
  const { cert, key } = certificate('broker');

  it('takes what the RabbitMQ Cluster Operator writes', () => {
    const written = {
      connection_string: 'amqp://default_user_x:y@shop-mq.shop.svc:5672/',
      'default_user.conf': 'default_user = default_user_x\n',
      host: 'shop-mq.shop.svc',
      password: 'y',
      port: '5672',
      provider: 'rabbitmq',
      type: 'rabbitmq',
      username: 'default_user_x',
    };
    const expected = { host: 'shop-mq.shop.svc', port: 5672, tls: false, vhost: '/', username: 'default_user_x', password: 'y' }; // biome-ignore format: one line
    expect(secretOf(written)).toEqual(expected);
    expect(secretOf({ ...written, port: '5671' })).toEqual({ ...expected, port: 5671, tls: true });
  });

  it.each<[string, Record<string, string>, RabbitSettings]>([
    ['keys alone', own, plain],
    ['a vhost', { ...own, vhost: '/shop' }, { ...plain, vhost: '/shop' }],
    ['the vhost of no name', { ...own, vhost: '' }, plain],
    ['a password as it is', { ...own, password: ' %40 é' }, { ...plain, password: ' %40 é' }],
    [
      'values that end as files do',
      { host: 'h\n', port: '5673\r\n', username: 'u\n', password: 'p\n' },
      { ...plain, port: 5673 },
    ],
    ['a password that ends with two of them', { ...own, password: 'p\n\n' }, { ...plain, password: 'p\n' }],
    ['an IPv6 address', { ...own, host: '::1' }, { ...plain, host: '::1' }],
    ['an IPv6 address in brackets', { ...own, host: '[::1]' }, { ...plain, host: '::1' }],
    ['a uri', { uri: 'amqps://u:p@h/v\n' }, { ...plain, port: 5671, tls: true, vhost: 'v' }],
    ['a uri without a user', { uri: 'amqp://h' }, { ...plain, ...guest }],
    ['a uri, and a user beside it', { uri: 'amqp://h', username: 'u', password: 'p' }, plain],
    ['a uri with a user, and a password beside it', { uri: 'amqp://u@h', password: 'p' }, plain],
    [
      'a uri, and a port and a vhost beside it',
      { uri: 'amqp://u:p@h', port: '5673', vhost: 'v' },
      { ...plain, port: 5673, vhost: 'v' },
    ],
    [
      'a uri, and the same beside it',
      { uri: 'amqp://u:p%40@H:5673/%2F', host: 'h', port: '5673', username: 'u', password: 'p@', vhost: '/' },
      { ...plain, port: 5673, password: 'p@' },
    ],
    ['a port of TLS beside amqp://', { uri: 'amqp://u:p@h', port: '5671' }, { ...plain, port: 5671 }],
    ['a CA', { ...own, 'ca.crt': cert }, { ...plain, port: 5671, tls: true, ca: cert }],
    [
      'a CA and the port of no TLS',
      { ...own, port: '5672', 'ca.crt': cert },
      { ...plain, port: 5672, tls: true, ca: cert },
    ],
    [
      'certificates beside a uri',
      { uri: 'amqps://u:p@h', 'ca.crt': cert, 'tls.crt': cert, 'tls.key': key },
      { ...plain, port: 5671, tls: true, ca: cert, cert, key },
    ],
    [
      'the management API',
      { ...own, managementUri: 'https://Mq.example:15671/' },
      { ...plain, managementUri: 'https://mq.example:15671' },
    ],
  ])('takes %s', (_, data, expected) => {
    const settings = secretOf(data);
    const withoutEnds = { ...settings, ...pems(settings) };
    expect(withoutEnds).toEqual({ ...expected, ...pems(expected) });
  });

  it.each<[string, Record<string, string>, string]>([
    ['nothing', {}, 'host: found nothing; allowed: uri, or host, username and password'],
    ['no host', { username: 'u', password: 'p' }, 'host: found nothing; allowed: uri, or host, username and password'],
    ['no user', { host: 'h', password: 'p' }, 'username: found nothing; allowed: uri, or host, username and password'],
    ['no password', { host: 'h', username: 'u' }, 'password: found nothing; allowed: uri, or host, username and password'],
    ['an empty user', { ...own, username: '\n' }, 'username: found empty text; RabbitMQ lets nobody in without'],
    ['an empty password', { ...own, password: '' }, 'password: found empty text; RabbitMQ lets nobody in without'],
    ['a user alone beside a uri', { uri: 'amqp://h', username: 'u' }, 'password: found nothing beside a user'],
    ['a password alone beside a uri', { uri: 'amqp://h', password: 'p' }, 'username: found nothing beside a password'],
    ['a port in the host', { ...own, host: 'h:5672' }, 'host: allowed: a DNS name or an IP address, the port apart'],
    ['a uri in the host', { ...own, host: 'amqp://h' }, 'host: allowed: a DNS name or an IP address, the port apart'],
    ['an empty host', { ...own, host: '' }, 'host: allowed: a DNS name or an IP address, the port apart'],
    ...['', '0', '65536', '-1', '5672.0', '0x10', '1e3', ' 5672', 'amqp'].map(
      (port): [string, Record<string, string>, string] => [
        `the port ${JSON.stringify(port)}`,
        { ...own, port },
        'port: allowed: a number from 1 to 65535',
      ],
    ),
    ['a vhost that is too long', { ...own, vhost: 'v'.repeat(256) }, 'vhost: allowed: at most 255 bytes of UTF-8'],
    ['half of a letter in a vhost', { ...own, vhost: '\ud800' }, 'vhost: allowed: at most 255 bytes of UTF-8'],
    ...(
      [
        ['host', 'i'],
        ['port', '5673'],
        ['username', 'v'],
        ['password', 'q'],
        ['vhost', 'w'],
      ] as const
    ).map(([what, value]): [string, Record<string, string>, string] => [
      `another ${what} than in uri`,
      { uri: 'amqp://u:p@h:5672/v', [what]: value },
      `${what}: another one than in uri; allowed: one of the two`,
    ]),
    ['a CA beside amqp://', { uri: 'amqp://u:p@h', 'ca.crt': cert }, 'uri: found amqp:// beside a certificate; allowed: amqps://'],
    ['tls.crt beside amqp://', { uri: 'amqp://u:p@h', 'tls.crt': cert, 'tls.key': key }, 'uri: found amqp:// beside a certificate; allowed: amqps://'],
    ['tls.crt without tls.key', { ...own, 'tls.crt': cert }, 'tls.key: found nothing beside tls.crt'],
    ['tls.key without tls.crt', { ...own, 'tls.key': key }, 'tls.crt: found nothing beside tls.key'],
    ['a CA that is none', { ...own, 'ca.crt': 'here' }, 'ca.crt: allowed: certificates in PEM'],
    ['a key for a CA', { ...own, 'ca.crt': key }, 'ca.crt: allowed: certificates in PEM'],
    ['a certificate that is none', { ...own, 'tls.crt': '', 'tls.key': key }, 'tls.crt: allowed: certificates in PEM'],
    ['a key that is none', { ...own, 'tls.crt': cert, 'tls.key': cert }, 'tls.key: allowed: a private key in PEM, without a passphrase'],
    ['a key of another', { ...own, 'tls.crt': cert, 'tls.key': certificate('other').key }, 'tls.key: it is not the key of the certificate in tls.crt'],
    ...['mq:15672', 'amqp://mq', 'http://mq/api', 'http://u:p@mq', 'http://mq?x', 'http://mq:x', 'http://mq:65536', ''].map(
      (managementUri): [string, Record<string, string>, string] => [
        `the management API at ${JSON.stringify(managementUri)}`,
        { ...own, managementUri },
        'managementUri: allowed: http://HOST:PORT or https://HOST:PORT, without user, password and path',
      ],
    ),
  ])('refuses %s', (_, data, expected) => {
    expect(refusal(() => secretOf(data))).toBe(`Secret shop/broker: ${expected}`);
  }); // biome-ignore format: one line a row

  it('says what is wrong with a uri as settingsFromUri does, and where', () => {
    expect(refusal(() => secretOf({ uri: 'amqp://h:0' }))).toBe(
      'Secret shop/broker: uri: port: allowed: a number from 1 to 65535',
    );
  });

  /** A line end at the end of a file belongs to nothing. */
  function pems({ ca, cert, key }: RabbitSettings) {
    return { ca: ca?.trimEnd(), cert: cert?.trimEnd(), key: key?.trimEnd() };
  }
});

describe('shownBroker', () => {
  it.each<[Partial<RabbitSettings>, string]>([
    [{}, 'amqp://h:5672'],
    [{ tls: true, vhost: 'a/b' }, 'amqps://h:5672/a%2Fb'],
    [{ host: '::1', vhost: '' }, 'amqp://[::1]:5672/'],
  ])('shows %j as %s', (some, expected) => {
    const settings = { host: 'h', port: 5672, tls: false, vhost: '/', username: 'u', password: 'p', ...some };
    expect(shownBroker(settings)).toBe(expected);
  });

  test('what it shows leads to the same broker', () => {
    const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
    const vhost = fc.string({ unit: 'binary', minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(host, fc.integer({ min: 1, max: 65_535 }), fc.boolean(), vhost, (host, port, tls, vhost) => {
        const shown = shownBroker({ host, port, tls, vhost });
        expect(uriOf(shown)).toEqual({ host: host.toLowerCase(), port, tls, vhost, ...guest });
      }),
    );
  });
});

describe('the password', () => {
  // No part of any message holds it by chance.
  const password = fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => `Q7${text}x9`);
  const part = fc.oneof(
    fc.constantFrom(
      '',
      'u',
      'h',
      ':',
      '@',
      '/',
      '?',
      '#',
      '%',
      '[',
      ']',
      ' ',
      '5672',
      '0',
      'amqp://',
      'amqps://',
      'x:1',
    ),
    fc.string({ maxLength: 4 }),
  );
  /** Whether the secret is in the error, or else in what is shown of the broker. */
  const shows = (make: () => RabbitSettings, secret: string) => {
    try {
      return shownBroker(make()).includes(secret);
    } catch (error) {
      if (errorCodeOf(error) !== 'SecretInvalid') throw error;
      const { message, params, cause } = error as LevadaError;
      const texts = [message, ...Object.values(params).map(String)];
      return cause !== undefined || texts.some((text) => text.includes(secret));
    }
  };

  test('is where it belongs, however it looks', () => {
    fc.assert(
      fc.property(password, (secret) => {
        const uri = `amqp://u:${encodeURIComponent(secret)}@h/v`;
        expect(uriOf(uri)).toMatchObject({ password: secret, vhost: 'v' });
        expect(secretOf({ uri, password: secret })).toEqual(uriOf(uri));
      }),
    );
  });

  test('is never in an error or a log, however broken the URI around it is', () => {
    fc.assert(
      fc.property(part, part, password, part, (before, between, secret, after) => {
        // Behind `user:` nothing of it may be taken for a port or a vhost, which are shown.
        expect(shows(() => uriOf(`amqp://u:${before}${between}${secret}${after}@h${after}`), secret)).toBe(false);
        expect(shows(() => uriOf(`amqp://u:1${between}${secret}@h`), secret)).toBe(false);
        expect(shows(() => uriOf(`${before}${secret}${between}${after}`), secret)).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });

  test('is never in an error of a Secret that holds it where it does not belong', () => {
    const key = fc.constantFrom('uri', 'port', 'username', 'password', 'managementUri', 'ca.crt', 'tls.crt', 'tls.key');
    const data = fc.dictionary(fc.oneof(key, fc.constantFrom('host', 'vhost')), part);
    fc.assert(
      fc.property(data, key, password, part, part, (data, where, secret, before, after) => {
        expect(shows(() => secretOf({ ...data, [where]: `${before}${secret}${after}` }), secret)).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });
});
