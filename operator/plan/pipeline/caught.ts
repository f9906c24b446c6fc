import { errorCodeOf, messageOf, type Problem } from '../../../api/errors.ts';

/** What `compile` throws, as a problem at `path`. */
export function caught(compile: () => unknown, path: string): Problem[] {
  try {
    compile();
    return [];
  } catch (error) {
    return [{ code: errorCodeOf(error) ?? 'InternalError', path, message: messageOf(error) }];
  }
}
