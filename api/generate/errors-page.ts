import type { Outcome } from '../errors/definition.ts';
import { errorGroups } from '../errors.ts';
import { code, generatedNote, page, prose, table } from './markdown.ts';

interface Definition {
  readonly outcome: Outcome;
  readonly message: string;
  readonly remedy: string;
  readonly http?: number;
}

/** docs/reference/errors.md: every registered error. */
export function errorsPage(): string {
  return page(
    generatedNote,
    '# Errors',
    'Every error that Levada reports has one of these codes: before the message in what commands print, as the `reason` of a condition, in `x-levada-error` on the wire. ' +
      'Names in braces stand for what was found.',
    'What happens next, wherever the error appears:',
    [
      '- **terminal**: trying again cannot help until a person changes something.',
      '- **wait**: something that Levada watches must happen first; then it goes on by itself.',
      '- **retry**: trying again may help, with backoff.',
    ].join('\n'),
    ...Object.values(errorGroups).flatMap(({ title, errors }) => [`## ${title}`, errorTable(errors)]),
  );
}

function errorTable(errors: Readonly<Record<string, Definition>>): string {
  const rows = Object.entries(errors).map(([name, { outcome, http, message, remedy }]) => [
    code(name),
    outcome,
    http === undefined ? '' : String(http),
    prose(message),
    prose(remedy),
  ]);
  return table(['Code', 'Outcome', 'HTTP', 'Message', 'What to do'], rows);
}
