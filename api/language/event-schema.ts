import { LevadaError, messageOf } from '../errors.ts';
import { LimitExceeded } from './meter.ts';
import { type Schema, Validator } from './validator.ts';
import { type Violation, violationOf } from './violation.ts';

export { assignViolations } from './assign.ts';
export type { Violation } from './violation.ts';

export interface EventSchema {
  /** `undefined`: the value meets the schema. A value that is too large or deep to be checked breaks it. */
  check(value: unknown): Violation | undefined;
}

/**
 * Compiles JSON Schema 2020-12. References stay inside the schema. Keywords and formats that nobody knows are mistakes.
 *
 * @throws LevadaError SchemaInvalid
 */
export function compileSchema(schema: Schema): EventSchema {
  try {
    const validator = new Validator();
    const validate = validator.compile(schema);
    // A schema that refers to itself without going into the value never ends. One small value of each type shows it.
    for (const sample of [null, true, 0, '', [], {}]) validator.check(validate, sample);
    return {
      check(value) {
        try {
          const errors = validator.check(validate, value);
          return errors.length === 0 ? undefined : violationOf(errors, value);
        } catch (error) {
          if (!(error instanceof LimitExceeded)) throw error;
          return {
            field: '',
            found: `a value that is too much to check: ${error.message}`,
            allowed: 'a simpler value',
          };
        }
      },
    };
  } catch (error) {
    throw new LevadaError('SchemaInvalid', { detail: schemaProblem(error) });
  }
}

function schemaProblem(error: unknown): string {
  if (error instanceof LimitExceeded) return 'it refers to itself without end';
  const { missingRef } = error as { missingRef?: unknown };
  if (typeof missingRef === 'string') return `$ref ${JSON.stringify(missingRef)} leads to nothing inside the schema`;
  const text = messageOf(error)
    .replace(/^strict mode: /, '')
    .replaceAll(/ ?\(?at path "#"\)?| in schema at path "#"/g, '');
  return text.length > 500 ? `${text.slice(0, 500)}…` : text;
}

/** @param whole what an empty field stands for: `the body`, `the data` */
export function violationError({ field, found, allowed }: Violation, whole = 'the data'): LevadaError {
  return new LevadaError('EventBreaksSchema', { field: field || whole, found, allowed });
}
