import { stripVTControlCharacters } from 'node:util';
import { Document, visit } from 'yaml';
import { errorCodeOf, errors, messageOf } from '../api/errors.ts';
import type { FileProblem } from '../operator/source/load.ts';
import { plainScalar } from '../operator/source/scalar.ts';

/** Exit codes of every command. */
export const exitCodes = {
  ok: 0,
  /** The answer is no: problems were found, something is not ready, nothing of that name. */
  no: 1,
  /** The command line itself is wrong. */
  usage: 2,
} as const;

/** Writes one line, or several, to stdout: what a command was asked for, and nothing else. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Writes to stderr: what is said beside the answer. */
export function printNote(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** YAML documents, one a value, that kubectl reads as what they were made of. */
export function toYaml(values: readonly object[]): string {
  return values.map(yamlDocument).join('---\n');
}

/** Space that the library's block texts lose, and characters that Go's reader refuses or takes for the end of a line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const quotedOnly = /^\s|[ \t](?:\n|$)|\n\n$|[\t\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]/;

function yamlDocument(value: object): string {
  const document = new Document(value, {
    version: '1.1',
    aliasDuplicateObjects: false,
    // Objects have no merge keys; the library would write a plain << for a string.
    customTags: (tags) => tags.filter((tag) => typeof tag === 'string' || !tag.tag.endsWith(':merge')),
  });
  visit(document, {
    Scalar(_, node) {
      // The library quotes what its own YAML 1.1 would misread; kubectl's misreads more, 0o17 for one.
      const text = node.value;
      const misread =
        typeof text === 'string' && (text === '<<' || plainScalar(text) !== text || quotedOnly.test(text));
      if (misread) node.type = 'QUOTE_DOUBLE';
    },
  });
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  return document.toString({ lineWidth: 0 }).replace(/[\x7f-\x9f\u2028\u2029\ufeff]/g, escaped);
}

/** Prints an error with its code and remedy, where it has them, and sets the exit code. */
export function printError(error: unknown): void {
  const code = errorCodeOf(error);
  printNote(code ? `${printable(messageOf(error))} (${code})\n  ${errors[code].remedy}` : messageOf(error));
  process.exitCode = code === 'Usage' ? exitCodes.usage : exitCodes.no;
}

/** `file:line:column: path: message (Code)`. */
export function problemLine({ file, line, column, path, message, code }: FileProblem): string {
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  // Errors about a file as a whole may begin with its name themselves.
  const start = line === 0 && message.startsWith(`${file}: `) ? '' : `${place}: `;
  return printable(`${start}${path === '' ? '' : `${path}: `}${message} (${code})`);
}

/** `3 problems in 2 files`. */
export function summaryOf(problems: readonly FileProblem[]): string {
  const files = new Set(problems.map(({ file }) => file));
  return `${counted(problems.length, 'problem')} in ${counted(files.size, 'file')}`;
}

/** `1 problem`, `2 problems`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** Text from a file, without what would drive a terminal. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return stripVTControlCharacters(text).replace(/[\x00-\x1f\x7f-\x9f]/g, '�');
}
