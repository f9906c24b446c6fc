import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelServerConfig } from '../../../api/contract/model-server.ts';
import {
  canonicalJson,
  type RoutingStatus,
  type RoutingTable,
  routingFiles,
  type SignedRoutingTable,
} from '../../../api/contract/routing-table.ts';
import { LevadaError, messageOf } from '../../../api/errors.ts';
import { show } from '../../../api/rules.ts';
import type { Log } from '../service.ts';

type RoutingConfig = NonNullable<ModelServerConfig['routing']>;

/** The routing table of a pod: the newest that was signed by the operator, from a file or told on the admin port. */
export class RoutingTables {
  readonly #config: RoutingConfig;
  /** By the id that signatures name them by. */
  #keys: ReadonlyMap<string, KeyObject> = new Map();
  readonly #onTable: (table: RoutingTable) => void;
  #table: RoutingTable | undefined;

  constructor(config: RoutingConfig, onTable: (table: RoutingTable) => void) {
    this.#config = config;
    this.#onTable = onTable;
  }

  get status(): RoutingStatus {
    if (!this.#table) return {};
    const { generation, candidate } = this.#table;
    return { generation, ...(candidate && { candidate }) };
  }

  /**
   * Takes a {@link SignedRoutingTable}; the same one again changes nothing.
   *
   * @returns the generation that is in force
   * @throws LevadaError RoutingTableInvalid, RoutingTableUnsigned, RoutingTableForeign, RoutingTableOutdated
   */
  async accept(body: string): Promise<RoutingStatus> {
    const table = await this.#verified(parse(body));
    const { resource } = this.#config;
    if (table.resource !== resource) {
      throw new LevadaError('RoutingTableForeign', { found: show(table.resource), allowed: resource });
    }
    const current = this.#table;
    if (current && table.generation <= current.generation) {
      if (canonicalJson(table) === canonicalJson(current)) return this.status;
      throw new LevadaError('RoutingTableOutdated', { found: table.generation, current: current.generation });
    }
    this.#table = table;
    this.#onTable(table);
    return this.status;
  }

  /** Takes the table of the file, if there is one. Never rejects: without it the process answers everything itself. */
  async boot(log: Log): Promise<void> {
    const path = join(this.#config.folder, routingFiles.table);
    try {
      await this.accept(await readFile(path, 'utf8'));
      log.info({ path, ...this.status }, 'routing table read');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return; // none yet
      log.error({ path }, `no routing table: ${messageOf(error)}`);
    }
  }

  async #verified({ table, signature, keyId }: SignedRoutingTable): Promise<RoutingTable> {
    let key = this.#keys.get(keyId);
    if (!key) {
      this.#keys = await readKeys(join(this.#config.folder, routingFiles.keys));
      key = this.#keys.get(keyId);
    }
    if (!key) {
      const allowed = [...this.#keys.keys()].join(', ') || 'none is known';
      throw new LevadaError('RoutingTableUnsigned', { detail: `key ${show(keyId)}; allowed: ${allowed}` });
    }
    if (!verify(null, Buffer.from(canonicalJson(table)), key, Buffer.from(signature, 'base64'))) {
      throw new LevadaError('RoutingTableUnsigned', { detail: 'the signature is of something else' });
    }
    return table;
  }
}

/** Who has put them there may replace this pod: the folder is as trusted as the configuration is. */
async function readKeys(path: string): Promise<ReadonlyMap<string, KeyObject>> {
  try {
    const texts = JSON.parse(await readFile(path, 'utf8')) as string[];
    return new Map(
      texts.map((text) => {
        const der = Buffer.from(text, 'base64');
        const keyId = createHash('sha256').update(der).digest('hex').slice(0, 16);
        return [keyId, createPublicKey({ key: der, format: 'der', type: 'spki' })];
      }),
    );
  } catch (error) {
    throw new LevadaError('RoutingTableUnsigned', { detail: `no keys: ${messageOf(error)}` }, { cause: error });
  }
}

/** What is signed needs no more looking at; here only that there is something to verify. */
function parse(body: string): SignedRoutingTable {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (error) {
    throw new LevadaError('RoutingTableInvalid', { detail: messageOf(error).slice(0, 200) });
  }
  const { table, signature, keyId } = (value ?? {}) as Partial<Record<keyof SignedRoutingTable, unknown>>;
  if (typeof table !== 'object' || table === null || typeof signature !== 'string' || typeof keyId !== 'string') {
    throw new LevadaError('RoutingTableInvalid', { detail: 'it needs table, signature and keyId' });
  }
  return value as SignedRoutingTable;
}
