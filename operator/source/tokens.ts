import { type CST, Lexer, type LineCounter, Parser } from 'yaml';

/** Says that something at an offset is not allowed. */
export type Refuse = (detail: string, offset: number) => void;

/** Levels of maps and lists. No resource has a tenth of it, and no recursion over so many exhausts the stack. */
const maxNesting = 200;

/** Go's reader refuses control characters, and breaks lines at the others; neither belongs in a resource. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const forbidden = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]|\r(?!\n)/;

/** kubectl cuts files at lines of nothing but `---` before it parses what is between them. */
const separators: ReadonlyArray<{ pattern: RegExp; detail: string }> = [
  {
    pattern: /^---(?![ \t]*\r?$|[ \t]+#)/gm,
    detail: 'found text beside ---; allowed: the document on the lines after it',
  },
  {
    pattern: /^\.\.\.(?=\s|$)/gm,
    detail: 'found ... ; allowed: --- between documents (kubectl drops what follows ...)',
  },
];

/** The mark that the library's lexer puts before a scalar. */
const scalarMark = '\x1f';

/**
 * The tokens of `text`. The library reads YAML 1.2 and kubectl 1.1: `refuse` hears of everything that the library takes
 * and kubectl refuses, drops, or reads in another way. Nesting ends the tokens: two megabytes of `[` take gigabytes.
 */
export function* tokens(text: string, lines: LineCounter, refuse: Refuse): Generator<CST.Token> {
  lines.addNewLine(0);
  const control = forbidden.exec(text);
  if (control) {
    for (const { index } of text.matchAll(/\n/g)) lines.addNewLine(index + 1);
    return refuse(`found ${codePoint(control[0])}; allowed: printable text`, control.index);
  }
  for (const { pattern, detail } of separators) for (const { index } of text.matchAll(pattern)) refuse(detail, index);

  const parser = new Parser(lines.addNewLine);
  const isJson = /^\s*\{/.test(text); // kubectl reads such files with a JSON parser first
  let before = '\n';
  for (const lexeme of new Lexer().lex(text)) {
    const detail = mistake(lexeme, before, parser, isJson);
    if (detail) refuse(detail, parser.offset);
    yield* parser.next(lexeme);
    if (parser.stack.length > maxNesting) return refuse(`nested more than ${maxNesting} levels deep`, parser.offset);
    if (!/^ +$/.test(lexeme)) before = lexeme;
  }
  yield* parser.end();
}

const codePoint = (character: string): string =>
  `U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`;

/** What is wrong with a lexeme; `before` is the one before it that is not just spaces. */
function mistake(lexeme: string, before: string, parser: Parser, isJson: boolean): string | undefined {
  const inFlow = () => parser.stack.some(({ type }) => type === 'flow-collection');
  if (lexeme.startsWith('"')) return isJson ? undefined : escapeMistake(lexeme);
  if (before === scalarMark) {
    const isOdd = /^[:?]/.test(lexeme) && inFlow();
    return isOdd ? `found text that begins with ${lexeme[0]} inside [] or {}; allowed: quoted text` : undefined;
  }
  if (/^[&*]/.test(lexeme) && !/^.[A-Za-z0-9_-]+$/.test(lexeme)) {
    return `found the anchor ${lexeme}; allowed: letters, digits, _ and -`;
  }
  if (lexeme.startsWith('%')) return 'found a directive; allowed: none (kubectl refuses them)';
  const isIndent = /^(?:\r?\n|[-?\ufeff]|)$/.test(before) && /^[ \t]*\t/.test(lexeme);
  return isIndent && !inFlow() ? 'found a tab that indents; allowed: spaces' : undefined;
}

function escapeMistake(quoted: string): string | undefined {
  const [found] = /(?<=(?<!\\)(?:\\\\)*)\\(?:\/|u[dD][89a-fA-F])/.exec(quoted) ?? [];
  return found && `found the escape ${found}; allowed: the character itself (only JSON has this escape)`;
}
