import { Matcher, MatcherInput, RE2JS } from 're2js';
import { limits } from './limits.ts';
import type { Meter } from './meter.ts';

/**
 * A regular expression of RE2: the time it takes grows with the text, never exponentially. What RE2 leaves out
 * (look-around, back-references) is what makes others slow.
 */
export interface SafeRegex {
  /** A search through `text`, from match to match. */
  search(text: string, meter: Meter): Search;
  test(text: string, meter: Meter): boolean;
}

export interface Search {
  /** The next match at or after `from`. A group that took no part is `undefined`. */
  next(from: number): { start: number; end: number; groups: Array<string | undefined> } | undefined;
}

/**
 * @param source as JavaScript writes it
 * @param flags of `i`, `m`, `s`; others change nothing here
 * @throws Error with a message for people
 */
export function compileRegex(source: string, flags = ''): SafeRegex {
  let bits = 0;
  if (flags.includes('i')) bits |= RE2JS.CASE_INSENSITIVE;
  if (flags.includes('m')) bits |= RE2JS.MULTILINE;
  if (flags.includes('s')) bits |= RE2JS.DOTALL;
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(RE2JS.translateRegExp(source), bits);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`the regular expression /${shorten(source)}/ is not one of RE2 (${shorten(reason)})`);
  }
  const size = compiled.programSize();
  if (size > limits.regexSize) throw new Error(`the regular expression /${shorten(source)}/ is too large`);
  const search = (text: string, meter: Meter): Search => {
    const read = new CountedText(text, meter, perRead(size));
    return {
      next(from) {
        meter.spend(1);
        const matcher = new Matcher(compiled, MatcherInput.utf16(read));
        if (from > text.length || !matcher.find(from)) return undefined;
        const groups = Array.from(
          { length: matcher.groupCount() },
          (_, index) => matcher.group(index + 1) ?? undefined,
        );
        return { start: matcher.start(), end: matcher.end(), groups };
      },
    };
  };
  return { search, test: (text, meter) => search(text, meter).next(0) !== undefined };
}

/** Steps for one character: in the worst case each instruction looks at it. Measured: about 4 ns an instruction. */
const perRead = (programSize: number) => 0.02 + programSize * 0.004;

/**
 * Text that counts how often a character of it is read. The engine looks ahead as far as it likes before it reports a
 * short match, so neither the length of the text nor that of the match says what a search has cost.
 */
class CountedText extends String {
  readonly #text: string;
  readonly #meter: Meter;
  readonly #price: number;

  constructor(text: string, meter: Meter, price: number) {
    super(text);
    this.#text = text;
    this.#meter = meter;
    this.#price = price;
  }

  override charCodeAt(index: number): number {
    this.#meter.spend(this.#price);
    return this.#text.charCodeAt(index);
  }

  override indexOf(part: string, from = 0): number {
    const found = this.#text.indexOf(part, from);
    this.#meter.characters((found < 0 ? this.#text.length : found) - from);
    return found;
  }

  override substring(start: number, end?: number): string {
    return this.#text.substring(start, end);
  }
}

const shorten = (text: string) => (text.length > 100 ? `${text.slice(0, 100)}…` : text);
