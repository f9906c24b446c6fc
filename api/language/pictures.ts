import { limits } from './limits.ts';
import { LimitExceeded } from './meter.ts';

/**
 * JSONata turns a picture of a date or a number into loops and regular expressions without looking at it first: a width
 * of a million pads to a million, and parts without a separator between them take exponential time to match.
 */
export class BadPicture extends Error {}

const bad = (picture: string, reason: string) => new BadPicture(`the picture ${JSON.stringify(picture)} ${reason}`);

/** @throws BadPicture, LimitExceeded */
export function checkLength(picture: unknown): asserts picture is string | undefined {
  if (typeof picture === 'string' && picture.length > limits.picture) {
    throw new LimitExceeded(`a picture has more than ${limits.picture} characters`);
  }
}

interface Part {
  /** What it matches first, or at all: digits, letters, a sign. `undefined`: a literal. */
  readonly kind?: 'digits' | 'letters' | 'zone' | 'words';
  readonly text: string;
}

/** Widths are `*` or have one or two digits: `[Y,4-4]`. */
const width = /^(\*|\d{1,2})?(-(\*|\d{1,2}))?$/;

/** @throws BadPicture, LimitExceeded */
export function checkDatePicture(picture: unknown): void {
  checkLength(picture);
  if (picture !== undefined) datePicture(picture);
}

/**
 * A picture that a date is read with. Parts of unknown length must end where the next one begins.
 *
 * @throws BadPicture, LimitExceeded
 */
export function checkParsedPicture(picture: unknown): void {
  checkLength(picture);
  if (picture === undefined) return;
  const parts = datePicture(picture);
  for (const [index, { kind }] of parts.entries()) {
    if (kind === undefined) continue;
    if (kind === 'words') throw bad(picture, 'cannot be read: numbers as words can only be written');
    const next = parts[index + 1];
    if (next === undefined) continue;
    const meets =
      next.kind === undefined
        ? (kind === 'letters' ? /^[A-Za-z]/ : /^\d/).test(next.text)
        : (kind === 'letters' && next.kind === 'letters') || (kind === 'zone' && next.kind === 'digits');
    // Digits beside digits are told apart by their width: JSONata makes it fixed.
    if (meets) {
      throw bad(picture, `has ${JSON.stringify(next.text)} without a separator before it`);
    }
  }
}

function datePicture(picture: string): Part[] {
  const parts: Part[] = [];
  let rest = picture;
  while (rest !== '') {
    const open = rest.search(/\[(?!\[)/);
    const doubled = rest.indexOf('[[');
    if (doubled >= 0 && (open < 0 || doubled < open)) {
      parts.push({ text: rest.slice(0, doubled + 1) });
      rest = rest.slice(doubled + 2);
      continue;
    }
    if (open < 0) return [...parts, { text: rest }];
    if (open > 0) parts.push({ text: rest.slice(0, open) });
    const close = rest.indexOf(']', open);
    if (close < 0) throw bad(picture, 'has a "[" without a "]"');
    parts.push(marker(picture, rest.slice(open, close + 1)));
    rest = rest.slice(close + 1);
  }
  return parts;
}

function marker(picture: string, text: string): Part {
  const inner = text.slice(1, -1).replaceAll(/\s+/g, '');
  const comma = inner.lastIndexOf(',');
  if (comma >= 0 && !width.test(inner.slice(comma + 1))) throw bad(picture, `has a width in ${text} that is none`);
  const component = inner.charAt(0);
  const presentation = inner.slice(1, comma < 0 ? undefined : comma);
  if (component === 'Z' || component === 'z') return { kind: 'zone', text };
  if (/^[wW]/.test(presentation)) return { kind: 'words', text };
  const named = 'FPCE'.includes(component) && !/\d/.test(presentation);
  return { kind: named || /^[NnAaIi]/.test(presentation) ? 'letters' : 'digits', text };
}

/**
 * Options of $formatNumber: an empty separator is found again and again at the same place.
 *
 * @throws BadPicture
 */
export function checkNumberOptions(options: unknown): void {
  if (typeof options !== 'object' || options === null) return;
  for (const [name, value] of Object.entries(options)) {
    if (typeof value !== 'string' || value.length === 0 || value.length > 16) {
      throw new BadPicture(
        `the option ${JSON.stringify(name.slice(0, 40))} of $formatNumber is not 1 to 16 characters`,
      );
    }
  }
}
