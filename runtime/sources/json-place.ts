/** What a number or one of the three words looks like. */
const literal = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null/y;
const blank = /[ \t\n\r]*/y;

/**
 * Says where a text that `JSON.parse` has refused stops being JSON: V8 tells the place of some mistakes only.
 *
 * @returns `found "x" at line 1 column 7`
 */
export function jsonMistake(text: string): string {
  const at = jsonErrorAt(text) ?? text.length;
  const before = text.slice(0, at);
  const lines = before.split('\n');
  const place = `line ${lines.length} column ${(lines.at(-1) ?? '').length + 1}`;
  const found = text.codePointAt(at);
  return found === undefined ? `it ends too early, at ${place}` : `found ${shown(found)} at ${place}`;
}

/** Control characters, halves of pairs and the like by their number: they would garble a log. */
function shown(codePoint: number): string {
  const character = String.fromCodePoint(codePoint);
  if (/[\p{C}\p{Z}]/u.test(character) && character !== ' ') {
    return `U+${codePoint.toString(16).toUpperCase().padStart(4, '0')}`;
  }
  return JSON.stringify(character);
}

type Next = 'value' | 'item' | 'key' | 'first-key' | 'colon' | 'more';

/** The first offset (UTF-16) at which `text` cannot go on being JSON; `undefined`: it is JSON. */
export function jsonErrorAt(text: string): number | undefined {
  const open: string[] = []; // what closes the lists and maps around
  let next = 'value' as Next;
  for (let at = skip(blank, text, 0); ; at = skip(blank, text, at)) {
    const c = text[at];
    if (c === undefined) return next === 'more' && open.length === 0 ? undefined : at;
    const closes = next === 'more' || (next === 'item' && c === ']') || (next === 'first-key' && c === '}');
    if (closes && c === open.at(-1)) {
      open.pop();
      next = 'more';
      at++;
    } else if (next === 'more') {
      if (c !== ',' || open.length === 0) return at;
      next = open.at(-1) === '}' ? 'key' : 'value';
      at++;
    } else if (next === 'colon') {
      if (c !== ':') return at;
      next = 'value';
      at++;
    } else if (c === '"') {
      const { end, ok } = scanString(text, at);
      if (!ok) return end;
      next = next === 'key' || next === 'first-key' ? 'colon' : 'more';
      at = end;
    } else if (next === 'key' || next === 'first-key') {
      return at;
    } else if (c === '{' || c === '[') {
      open.push(c === '{' ? '}' : ']');
      next = c === '{' ? 'first-key' : 'item';
      at++;
    } else {
      const end = skip(literal, text, at);
      if (end === at) return at;
      next = 'more';
      at = end;
    }
  }
}

/** Where `pattern`, which is sticky, ends when it begins at `at`; `at` if it does not match. */
function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

/** The string that begins at `start`: where it ends, or where it goes wrong. */
function scanString(text: string, start: number): { end: number; ok: boolean } {
  for (let at = start + 1; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c === 0x22) return { end: at + 1, ok: true };
    if (c < 0x20) return { end: at, ok: false };
    if (c !== 0x5c) continue;
    at++;
    const letter = text[at];
    if (letter === undefined) break;
    if (!'"\\/bfnrtu'.includes(letter)) return { end: at, ok: false };
    for (let digit = 0; letter === 'u' && digit < 4; digit++) {
      at++;
      if (!/^[0-9a-fA-F]$/.test(text[at] ?? '')) return { end: at, ok: false };
    }
  }
  return { end: text.length, ok: false };
}
