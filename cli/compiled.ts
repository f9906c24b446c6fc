import { enableCompileCache } from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * Keeps compiled code in the user's own cache, for this process and those that it starts: half of the time that a short
 * command takes is spent on compiling. Only what is loaded after the call is kept. Where the folder cannot be written,
 * everything goes on without.
 */
export function cacheCompiled(): void {
  const { NODE_COMPILE_CACHE: chosen, XDG_CACHE_HOME: cache = join(homedir(), '.cache') } = process.env;
  if (chosen) return;
  // Not Node's default, which is in a folder that every user of the machine writes to.
  const folder = join(cache, 'levada', 'compiled');
  const { directory } = enableCompileCache(folder);
  if (directory !== undefined) process.env['NODE_COMPILE_CACHE'] = folder;
}
