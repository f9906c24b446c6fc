/**
 * MurmurHash3 (x86, 32 bits) of a string whose characters are bytes, as Node gives the values of HTTP headers. It is here
 * because a pure folder has no node:crypto, and because the side that a key is on must be the same in every release.
 */
export function hash32(bytes: string, seed: number): number {
  let hash = seed;
  const { length } = bytes;
  const body = length & ~3;
  for (let i = 0; i < body; i += 4) {
    hash ^= scramble(word(bytes, i));
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let i = length - 1; i >= body; i--) tail = (tail << 8) | (bytes.charCodeAt(i) & 0xff);
  hash ^= scramble(tail);
  hash ^= length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

const word = (bytes: string, i: number): number =>
  (bytes.charCodeAt(i) & 0xff) |
  ((bytes.charCodeAt(i + 1) & 0xff) << 8) |
  ((bytes.charCodeAt(i + 2) & 0xff) << 16) |
  ((bytes.charCodeAt(i + 3) & 0xff) << 24);

function scramble(value: number): number {
  const mixed = Math.imul(value, 0xcc9e2d51);
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
}
