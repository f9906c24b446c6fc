import { isIP } from 'node:net';

/** What an address is for, as far as it matters to who may call it. */
export type Network =
  | 'public'
  | 'private'
  | 'loopback'
  | 'link-local'
  | 'metadata'
  | 'unspecified'
  | 'multicast'
  | 'broadcast';

/** `Allow`: all but what is never called. `Deny`: public addresses only. */
export type NetworkPolicy = 'Allow' | 'Deny';

/** Nobody calls these on purpose, and what answers there hands out credentials or speaks for the node. */
const neverCalled: ReadonlySet<Network> = new Set(['link-local', 'metadata', 'unspecified', 'multicast', 'broadcast']);

/** An address that the policy does not allow. The message names the policy, and not the address. */
export class AddressRefused extends Error {
  readonly network: Network;
  constructor(network: Network) {
    super(
      neverCalled.has(network)
        ? `refused by the address policy: ${network} addresses are never called`
        : `refused by the address policy: ${network} addresses are not called where privateNetworks is Deny`,
    );
    this.network = network;
  }
}

/** The error that calling `address` is, or `undefined` where it may be called. `address` is an IP address. */
export function refusalOf(address: string, policy: NetworkPolicy): AddressRefused | undefined {
  const network = networkOf(address);
  if (neverCalled.has(network)) return new AddressRefused(network);
  return policy === 'Deny' && network !== 'public' ? new AddressRefused(network) : undefined;
}

interface Range {
  readonly network: Network;
  readonly prefix: bigint;
  /** Bits after the prefix. */
  readonly rest: bigint;
}

function ranges(width: number, table: ReadonlyArray<readonly [Network, string]>): Range[] {
  return table.map(([network, text]) => {
    const [address = '', length = String(width)] = text.split('/');
    const rest = BigInt(width - Number(length));
    return { network, prefix: bitsOf(address) >> rest, rest };
  });
}

/** The first that fits counts. Special-purpose registries of IANA, and the metadata services of clouds. */
const ipv4 = ranges(32, [
  ['metadata', '169.254.169.254'], // AWS, Azure, Google, Oracle and most others
  ['metadata', '169.254.170.2'], // AWS: credentials of a task
  ['metadata', '169.254.170.23'], // AWS: credentials of a pod
  ['metadata', '100.100.100.200'], // Alibaba
  ['metadata', '192.0.0.192'], // Oracle
  ['metadata', '168.63.129.16'], // Azure's wire server, which looks like a public address
  ['link-local', '169.254.0.0/16'],
  ['unspecified', '0.0.0.0/8'],
  ['multicast', '224.0.0.0/4'],
  ['broadcast', '255.255.255.255'],
  ['loopback', '127.0.0.0/8'],
  ['private', '10.0.0.0/8'],
  ['private', '172.16.0.0/12'],
  ['private', '192.168.0.0/16'],
  ['private', '100.64.0.0/10'], // shared by a provider's customers; also pods of some clusters
  ['private', '192.0.0.0/24'],
  ['private', '198.18.0.0/15'], // for benchmarks of networks
  ['private', '240.0.0.0/4'], // reserved; also pods of some clusters
]);
const ipv6 = ranges(128, [
  ['metadata', 'fd00:ec2::254'], // AWS
  ['metadata', 'fd00:ec2::23'], // AWS: credentials of a pod
  ['metadata', 'fd20:ce::254'], // Google
  ['unspecified', '::'],
  ['loopback', '::1'],
  ['link-local', 'fe80::/10'],
  ['multicast', 'ff00::/8'],
  ['private', 'fc00::/7'],
  ['private', 'fec0::/10'], // site-local, which fc00::/7 replaced
]);

/** Addresses of version 6 that carry one of version 4, which is where packets end up. */
const carriers: ReadonlyArray<{ readonly range: Range; carried(bits: bigint): bigint }> = [
  ...[
    '::/96', // IPv4-compatible
    '::ffff:0:0/96', // IPv4-mapped
    '::ffff:0:0:0/96', // IPv4-translated
    '64:ff9b::/96', // NAT64
    '64:ff9b:1::/48', // NAT64 of a network's own
  ].map((text) => carrier(text, (bits) => bits)),
  carrier('2002::/16', (bits) => bits >> 80n), // 6to4
  carrier('2001::/32', (bits) => ~bits), // Teredo, which inverts it
];

function carrier(text: string, carried: (bits: bigint) => bigint) {
  const [range] = ranges(128, [['public', text]]) as [Range];
  return { range, carried: (bits: bigint) => carried(bits) & 0xffff_ffffn };
}

/** @param address an IP address; with a zone (`fe80::1%eth0`) too */
export function networkOf(address: string): Network {
  const bits = bitsOf(address);
  if (isIP(address) === 4) return find(ipv4, bits) ?? 'public';
  const own = find(ipv6, bits);
  if (own !== undefined) return own;
  const found = carriers.find(({ range }) => fits(range, bits));
  return (found && find(ipv4, found.carried(bits))) ?? 'public';
}

const fits = ({ prefix, rest }: Range, bits: bigint): boolean => bits >> rest === prefix;
const find = (table: readonly Range[], bits: bigint): Network | undefined =>
  table.find((range) => fits(range, bits))?.network;

/** The number that an address is. */
function bitsOf(address: string): bigint {
  const version = isIP(address);
  if (version === 0) throw new TypeError('not an IP address');
  return version === 4 ? joined(address.split('.').map(Number), 8n) : joined(groupsOf(address), 16n);
}

function joined(parts: readonly number[], width: bigint): bigint {
  return parts.reduce((bits, part) => (bits << width) | BigInt(part), 0n);
}

/** The eight groups of an IPv6 address. */
function groupsOf(address: string): number[] {
  const plain = address.replace(/%.*$/, '').replace(/[^:]+\.[^:]+$/, (dotted) => {
    const [a = 0, b = 0, c = 0, d = 0] = dotted.split('.').map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = [], tail = []] = plain
    .split('::')
    .map((half) => (half === '' ? [] : half.split(':').map((group) => Number.parseInt(group, 16))));
  return [...head, ...Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}
