/**
 * Unquoted scalars as kubectl reads them: its YAML is 1.1 as the Go library go-yaml 2 understands it, so `yes` is a
 * boolean, `0777` is octal and `1:30` is text. A laptop that read them otherwise would accept what a cluster refuses.
 */

const words = new Map<string, boolean | null>([
  ...['', '~', 'null', 'Null', 'NULL'].map((word) => [word, null] as const),
  ...['y', 'Y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'].map((word) => [word, true] as const),
  ...['n', 'N', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'].map((word) => [word, false] as const),
]);

const notFinite = /^(?:\.nan|\.NaN|\.NAN|[-+]?(?:\.inf|\.Inf|\.INF))$/;
const integer = /^([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))$/;
const float = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;
const date = /^[0-9]{4}-/;

/** The value of an unquoted scalar. NaN and the infinities are numbers here; JSON, and so kubectl, has none. */
export function plainScalar(text: string): string | number | boolean | null {
  const word = words.get(text);
  if (word !== undefined) return word;
  if (notFinite.test(text)) return text.endsWith('n') || text.endsWith('N') ? Number.NaN : Number.POSITIVE_INFINITY;
  if (!/^[-+.0-9]/.test(text) || date.test(text)) return text;
  // After a leading dot, Go takes underscores only between digits; elsewhere they are dropped before it looks.
  if (text.startsWith('.') && /_(?![0-9])|(?<![0-9])_/.test(text)) return text;
  const digits = text.replaceAll('_', '');
  return integerOf(digits) ?? floatOf(digits) ?? text;
}

/** Integers of 64 bits. Larger ones are no integers to Go; some are floats then. */
function integerOf(digits: string): number | undefined {
  const [, sign, hex, binary, octal, decimal] = integer.exec(digits) ?? [];
  if (sign === undefined) return undefined;
  const magnitude = BigInt(decimal ?? (hex ? `0x${hex}` : binary ? `0b${binary}` : `0o${octal}`));
  if (magnitude > (sign === '' ? 2n ** 64n - 1n : sign === '+' ? 2n ** 63n - 1n : 2n ** 63n)) return undefined;
  return Number(sign === '-' ? -magnitude : magnitude);
}

/** A number that is too large for a double stays text. */
function floatOf(digits: string): number | undefined {
  const value = float.test(digits) ? Number(digits) : Number.NaN;
  return Number.isFinite(value) ? value + 0 : undefined; // -0 becomes 0, as it does in Go's JSON
}
