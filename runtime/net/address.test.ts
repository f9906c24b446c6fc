import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Network, networkOf, refusalOf } from './address.ts';

const table: ReadonlyArray<[Network, string[]]> = [
  ['public', ['8.8.8.8', '1.1.1.1', '172.15.255.255', '172.32.0.0', '100.63.255.255', '100.128.0.0', '11.0.0.0']],
  ['public', ['9.255.255.255', '126.255.255.255', '128.0.0.0', '169.253.255.255', '169.255.0.0', '223.255.255.255']],
  ['public', ['192.167.255.255', '192.169.0.0', '192.0.1.0', '198.17.255.255', '198.20.0.0']],
  ['public', ['2606:4700:4700::1111', '2a00:1450::5', '::ffff:8.8.8.8', '64:ff9b::8.8.8.8', '2002:808:808::1']],
  ['private', ['10.0.0.0', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255']],
  ['private', ['100.64.0.1', '100.127.255.255', '192.0.0.1', '198.18.0.1', '240.0.0.1', '255.255.255.254']],
  ['private', ['fc00::1', 'fdff:ffff::1', 'fec0::1', '::ffff:10.1.2.3', '64:ff9b::a00:1', '2002:a00:1::']],
  ['private', ['64:ff9b:1::192.168.0.1', '::ffff:0:10.0.0.1', '2001:0:1:2:3:4:f5ff:fffe']],
  ['loopback', ['127.0.0.1', '127.255.255.255', '::1', '::ffff:127.0.0.1', '::127.0.0.1', '64:ff9b::7f00:1']],
  ['link-local', ['169.254.0.0', '169.254.255.255', 'fe80::1', 'febf::1', 'fe80::1%eth0', '::ffff:169.254.1.1']],
  ['metadata', ['169.254.169.254', '169.254.170.2', '100.100.100.200', '192.0.0.192', '168.63.129.16']],
  ['metadata', ['fd00:ec2::254', 'fd20:ce::254', '::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '::a9fe:a9fe']],
  ['metadata', ['64:ff9b::169.254.169.254', '64:ff9b:1::a9fe:a9fe', '2002:a9fe:a9fe::', '::ffff:0:6464:64c8']],
  ['unspecified', ['0.0.0.0', '0.1.2.3', '::', '::ffff:0.0.0.0']],
  ['multicast', ['224.0.0.1', '239.255.255.255', 'ff02::1', '::ffff:224.0.0.1']],
  ['broadcast', ['255.255.255.255', '::ffff:255.255.255.255']],
];

describe.each(table)('%s', (network, addresses) => {
  test.each(addresses)('%s', (address) => expect(networkOf(address)).toBe(network));
});

test.each([
  ['http://2852039166/', 'metadata'],
  ['http://0xa9fea9fe/', 'metadata'],
  ['http://0251.0376.0251.0376/', 'metadata'],
  ['http://169.254.43518/', 'metadata'],
  ['http://[::ffff:169.254.169.254]/', 'metadata'],
  ['http://[0:0:0:0:0:ffff:a9fe:a9fe]/', 'metadata'],
  ['http://127.1/', 'loopback'],
  ['http://0/', 'unspecified'],
  ['http://１６９.２５４.１６９.２５４/', 'metadata'],
])('%s is an address to URL, too', (text, network) => {
  expect(networkOf(new URL(text).hostname.replace(/^\[|\]$/g, ''))).toBe(network);
});

test('what is always refused, and what where private networks are denied', () => {
  const refused = (address: string) => [refusalOf(address, 'Allow'), refusalOf(address, 'Deny')].map((e) => !!e);
  expect(refused('8.8.8.8')).toEqual([false, false]);
  for (const address of ['10.0.0.1', '127.0.0.1', 'fc00::1', '::1']) expect(refused(address)).toEqual([false, true]);
  for (const address of ['169.254.1.1', '169.254.169.254', '0.0.0.0', '::', 'ff02::1', '255.255.255.255']) {
    expect(refused(address)).toEqual([true, true]);
  }
});

test('the refusal names the policy and not the address', () => {
  expect(refusalOf('169.254.169.254', 'Allow')?.message).toBe(
    'refused by the address policy: metadata addresses are never called',
  );
  expect(refusalOf('10.1.2.3', 'Deny')?.message).toBe(
    'refused by the address policy: private addresses are not called where privateNetworks is Deny',
  );
});

test('an address of version 4 is what it is in every form of version 6', () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const groups = address.split('.').map(Number);
      const [a = 0, b = 0, c = 0, d = 0] = groups;
      const hex = [(a << 8) | b, (c << 8) | d].map((group) => group.toString(16)).join(':');
      const network = networkOf(address);
      for (const form of [`::ffff:${address}`, `::ffff:${hex}`, `64:ff9b::${hex}`, `2002:${hex}::`]) {
        expect(networkOf(form)).toBe(network);
      }
    }),
  );
});

test('the ways to write an address of version 6 are one address', () => {
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      const written = new URL(`http://[${address}]/`).hostname.slice(1, -1);
      expect(networkOf(written)).toBe(networkOf(address));
    }),
  );
});

test('what is not an address is an error, not public', () => {
  expect(() => networkOf('localhost')).toThrow('not an IP address');
});
