import { messageOf } from '../../api/errors.ts';

/** What a system error means, for those that a wrong path gives. */
export function reasonOf(error: unknown): string {
  const reasons: Record<string, string> = {
    ENOENT: 'no such file or folder',
    ENOTDIR: 'a part of the path is not a folder',
    EACCES: 'may not be read (permissions)',
    EISDIR: 'a folder, where a file is wanted',
    ENAMETOOLONG: 'a longer name than files can have',
    ERR_INVALID_ARG_VALUE: 'a zero byte in the name',
    ELOOP: 'symbolic links in a circle',
  };
  return reasons[(error as NodeJS.ErrnoException).code ?? ''] ?? messageOf(error);
}
