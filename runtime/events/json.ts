import { isUtf8 } from 'node:buffer';

/** Levels of lists and maps. What handles an event recurses over it: expressions, schemas, serialisation. */
const maxDepth = 128;
const byteOrderMark = 0xfeff;

/** What is wrong with bytes that should be JSON. The caller knows whose they are, and throws what fits. */
export class JsonProblem extends Error {
  /** It ends before it is complete. */
  readonly unfinished: boolean;
  constructor(message: string, unfinished = false) {
    super(message);
    this.unfinished = unfinished;
  }
}

/**
 * JSON as it comes from outside: UTF-8 (a byte order mark is skipped), at most 128 levels deep, without keys called
 * `__proto__`, which some program down the line would take for more than a key.
 *
 * @throws JsonProblem
 */
export function readJson(bytes: Uint8Array): unknown {
  if (!isUtf8(bytes)) throw new JsonProblem('it is not UTF-8');
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  const text = whole.charCodeAt(0) === byteOrderMark ? whole.slice(1) : whole;
  // Fewer bytes cannot hold so many brackets.
  if (bytes.length > maxDepth && brackets(bytes).deepest > maxDepth) {
    throw new JsonProblem(`it is nested deeper than ${maxDepth} levels`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // V8 quotes the text around the mistake, line breaks and all.
    const why = `it is not JSON: ${printable((error as SyntaxError).message, 200)}`;
    throw new JsonProblem(why, brackets(bytes).open > 0);
  }
  // A key can be written with escapes, too. Nearly every text has neither, and is not searched.
  if ((text.includes('__proto__') || text.includes('\\u')) && hasProto(value)) {
    throw new JsonProblem('it has a key called __proto__');
  }
  return value;
}

/** Before it is parsed, and without recursion: the deepest level, and how many brackets are open at the end. */
function brackets(bytes: Uint8Array): { deepest: number; open: number } {
  let open = 0;
  let deepest = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === 0x22) {
      for (i++; i < bytes.length && bytes[i] !== 0x22; i++) if (bytes[i] === 0x5c) i++;
    } else if (byte === 0x5b || byte === 0x7b) {
      open++;
      if (open > deepest) deepest = open;
    } else if (byte === 0x5d || byte === 0x7d) open--;
  }
  return { deepest, open };
}

function hasProto(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(hasProto);
  return Object.keys(value).some((key) => key === '__proto__' || hasProto((value as Record<string, unknown>)[key]));
}

/** Text of others for one line of a log or of a terminal: `limit` characters at most, and none that control anything. */
export function printable(text: string, limit: number): string {
  // Cut before the expression sees it, too: the rest would be worked through for nothing.
  const line = text
    .slice(0, limit * 4)
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim();
  const characters = Array.from(line);
  return characters.length > limit ? `${characters.slice(0, limit).join('')}…` : line;
}

/** Whether a content type says JSON: `application/json`, `application/vnd.order+json; charset=utf-8`. */
export const isJsonType = (type: string): boolean =>
  /^[a-z0-9!#$&^_.+-]+\/(?:[a-z0-9!#$&^_.-]+\+)?json[ \t]*(?:;[\x20-\x7e\t]*)?$/i.test(type);
