import { Ajv2020 } from 'ajv/dist/2020.js';
import { LevadaError, messageOf } from '../errors.ts';

/** The first place where a value breaks a schema. */
export interface Violation {
  /** `items[0].sku`; empty: the value itself. */
  readonly field: string;
  readonly found: string;
  readonly allowed: string;
}

export interface EventSchema {
  /** `undefined`: the value meets the schema. */
  check(value: unknown): Violation | undefined;
}

/**
 * Compiles JSON Schema 2020-12.
 *
 * @throws LevadaError SchemaInvalid
 */
export function compileSchema(schema: Readonly<Record<string, unknown>>): EventSchema {
  const ajv = new Ajv2020({ strict: true });
  try {
    const validate = ajv.compile(schema);
    return {
      check(value) {
        if (validate(value)) return undefined;
        return {
          field: validate.errors?.[0]?.instancePath ?? '',
          found: '',
          allowed: validate.errors?.[0]?.message ?? '',
        };
      },
    };
  } catch (error) {
    throw new LevadaError('SchemaInvalid', { detail: messageOf(error) });
  }
}
