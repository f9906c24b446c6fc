import type { ModelServerConfig, ModelServerStatus } from '../../api/contract/model-server.ts';
import { errorCodeOf, LevadaError, messageOf } from '../../api/errors.ts';
import type { Done } from './batcher.ts';
import type { RoutedAnswer, Router, Work } from './forward/router.ts';
import type { Metrics } from './metrics.ts';
import { loadModel, type Model } from './model.ts';
import { bodyText, parseJson } from './protocol/json.ts';
import { type InferRequest, inferSerializer, modelMetadata, parseInfer } from './protocol/oip.ts';
import { type SimpleModel, simpleModel } from './protocol/simple.ts';
import type { Headers } from './routing/decide.ts';
import { misfit } from './routing/rules.ts';
import type { Tensor, TensorInfo } from './tensors.ts';

export interface ServiceTimeouts {
  /** Milliseconds for loading and warm-up, and for one run. What takes longer never ends; only the process can. */
  readonly loadMs: number;
  readonly runMs: number;
}

export const defaultServiceTimeouts: ServiceTimeouts = { loadMs: 300_000, runMs: 120_000 };

export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface ServiceOptions {
  readonly log: Log;
  readonly metrics: (queuedRows: () => number) => Metrics;
  readonly onStatus: (status: ModelServerStatus) => void;
  /** The process cannot go on: it is to end at once, and to be started anew. */
  readonly onFatal: (reason: string) => void;
  readonly timeouts?: ServiceTimeouts;
  /** Shares requests with other versions. Absent: this one answers all. */
  readonly router?: (metrics: Metrics) => Router;
}

interface Loaded {
  readonly model: Model;
  readonly serialize: Serialize;
  /** For answers of another version. */
  readonly serializeAs: (version: string) => Serialize;
  /** Or why the simple API cannot serve this model. */
  readonly simple: SimpleModel | LevadaError;
}

type Serialize = (request: InferRequest, outputs: readonly Tensor[], row: number) => string;

/** Gets the body of the answer and the version that has given it, where that is another; or what went wrong. */
export type Answer = RoutedAnswer;

/** One version of one model, whatever the protocol: loading, state, and what requests become. */
export class ModelService {
  readonly config: ModelServerConfig;
  readonly metrics: Metrics;
  readonly router: Router | undefined;
  readonly #options: ServiceOptions;
  #status: ModelServerStatus = { state: 'Loading' };
  #loaded: Loaded | undefined;
  #watchdog: NodeJS.Timeout | undefined;

  constructor(config: ModelServerConfig, options: ServiceOptions) {
    this.config = config;
    this.#options = options;
    this.metrics = options.metrics(() => this.#loaded?.model.batcher.queuedRows ?? 0);
    this.router = options.router?.(this.metrics);
    this.metrics.state('Loading');
  }

  get status(): ModelServerStatus {
    return this.#status;
  }

  /** Loads the model, also after that has failed. Never rejects: a model that cannot be loaded is a state. */
  async load(): Promise<void> {
    const { config } = this;
    const { log, onFatal, timeouts = defaultServiceTimeouts } = this.#options;
    const start = performance.now();
    const timeout = setTimeout(
      () =>
        onFatal(new LevadaError('ModelLoadTimeout', { path: config.path, seconds: timeouts.loadMs / 1000 }).message),
      timeouts.loadMs,
    );
    try {
      const model = await loadModel(config, {
        observer: this.metrics,
        onLost: (error) => onFatal(messageOf(error)),
        onNote: (note) => log.warn({ path: config.path }, note),
        // What has failed before has failed until it is loaded.
        onDigest: (sha256) => this.#set({ ...this.#status, sha256 }),
      });
      this.#loaded = this.#serve(model);
      this.router?.attach(model);
      const ms = Math.round(performance.now() - start);
      log.info({ path: config.path, sha256: model.sha256, ms, threaded: model.threaded() }, 'model loaded');
      this.#watchdog = setInterval(
        () => {
          if (model.batcher.runningMs > timeouts.runMs) onFatal(`a run has not ended after ${timeouts.runMs / 1000} s`);
        },
        Math.min(5_000, timeouts.runMs),
      ).unref();
      this.#set({ state: 'Loaded', sha256: model.sha256 });
    } catch (error) {
      const code = errorCodeOf(error) ?? 'InternalError';
      const failure = { code, message: messageOf(error) };
      log.error({ path: config.path, code }, failure.message);
      this.#set({ ...this.#status, state: 'Failed', failure });
    } finally {
      clearTimeout(timeout);
    }
  }

  /**
   * POST /predict.
   *
   * @throws PredictInvalid, LevadaError; what goes wrong later goes to `answer`
   * @returns withdraws the request
   */
  predict(body: Buffer, timeoutMs: number, answer: Answer, headers: Headers): () => void {
    const { model, simple } = this.#ready();
    if (simple instanceof LevadaError) throw simple;
    const inputs = simple.parse(body.length === 0 ? undefined : parseJson(bodyText(body)));
    const { rows } = simple;
    const began = performance.now();
    const deadline = began + timeoutMs;
    const write: Work['write'] = (outputs, row) => simple.answer(outputs, row);
    if (this.router?.isActive) return this.router.submit({ inputs, rows, began, deadline, headers, write }, answer);
    return model.batcher.submit(inputs, rows, deadline, (error, outputs, row) => {
      if (error) answer(error, '');
      else respond(answer, () => simple.answer(outputs, row));
    });
  }

  /** POST /v2/models/NAME/infer; as {@link predict}. @param headers absent: this version answers, whatever the table says */
  infer(body: Buffer, timeoutMs: number, answer: Answer, headers: Headers | undefined): () => void {
    const { model, serialize, serializeAs } = this.#ready();
    const request = parseInfer(bodyText(body), model);
    const { inputs, rows } = request;
    const began = performance.now();
    const deadline = began + timeoutMs;
    if (headers && this.router?.isActive) {
      const write: Work['write'] = (outputs, row, version) =>
        (version === this.config.version ? serialize : serializeAs(version))(request, outputs, row);
      return this.router.submit({ inputs, rows, began, deadline, headers, write }, answer);
    }
    return model.batcher.submit(inputs, rows, deadline, (error, outputs, row) => {
      if (error) answer(error, '');
      else respond(answer, () => serialize(request, outputs, row));
    });
  }

  /** What the loaded model takes and gives; undefined while none is. */
  get signature(): { readonly inputs: readonly TensorInfo[]; readonly outputs: readonly TensorInfo[] } | undefined {
    return this.#loaded?.model;
  }

  /**
   * For a pod of the stable version, which has made tensors of the request already.
   *
   * @param done as of a batcher; `isWhole` where the outputs are this request's alone
   * @throws LevadaError ModelNotReady, InvalidInput, QueueFull
   */
  score(
    inputs: readonly Tensor[],
    rows: number,
    deadline: number,
    done: (...ended: [...Parameters<Done>, isWhole: boolean]) => void,
  ): void {
    const { model } = this.#ready();
    const { joinable } = model.batcher;
    const wrong = misfit(inputs, model.inputs, joinable ? rows : undefined);
    if (wrong)
      throw new LevadaError('InvalidInput', { field: 'inputs', found: wrong, allowed: 'what the model takes' });
    model.batcher.submit(inputs, rows, deadline, (...ended) => done(...ended, !joinable));
  }

  /** GET /v2/models/NAME. @throws LevadaError ModelNotReady */
  metadata(): object {
    return modelMetadata(this.config.model, this.config.version, this.#ready().model);
  }

  /** Resolves when every request that was accepted is answered. */
  async idle(): Promise<void> {
    await this.#loaded?.model.batcher.idle();
  }

  async close(): Promise<void> {
    clearInterval(this.#watchdog);
    this.router?.close();
    await this.#loaded?.model.close();
  }

  #serve(model: Model): Loaded {
    const { config } = this;
    let simple: Loaded['simple'];
    try {
      simple = simpleModel(model, model.classNames);
    } catch (error) {
      if (errorCodeOf(error) !== 'SimpleApiUnsupported') throw error;
      simple = error as LevadaError;
    }
    const serializer = (version: string) =>
      inferSerializer(config.model, version, model.outputs, model.batcher.joinable);
    const others = new Map<string, Serialize>();
    const serializeAs = (version: string) => {
      const serialize = others.get(version) ?? serializer(version);
      others.set(version, serialize);
      return serialize;
    };
    return { model, serialize: serializer(config.version), serializeAs, simple };
  }

  #ready(): Loaded {
    if (this.#loaded) return this.#loaded;
    const { state, failure } = this.#status;
    throw new LevadaError('ModelNotReady', { detail: failure ? `${failure.code}: ${failure.message}` : state });
  }

  #set(status: ModelServerStatus): void {
    this.#status = status;
    this.metrics.state(status.state);
    this.#options.onStatus(status);
  }
}

function respond(answer: Answer, body: () => string): void {
  let text: string;
  try {
    text = body();
  } catch (error) {
    answer(error, '');
    return;
  }
  answer(undefined, text);
}
