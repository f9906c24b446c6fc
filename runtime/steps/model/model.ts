import type { StepAction } from '../../../api/contract/pipeline.ts';
import { stickyKeyHeader, trialHeader } from '../../../api/contract/routing-table.ts';
import { errorCodeOf, errors, LevadaError } from '../../../api/errors.ts';
import { compileExpression, type Expression } from '../../../api/language/expression.ts';
import { compileTemplate, type Template, unwrapExpression } from '../../../api/language/template.ts';
import { show } from '../../../api/rules.ts';
import { printable } from '../../events/json.ts';
import { attributesOf, type Event } from '../../events/message.ts';
import { type Deadline, deadlineIn, displayUrl, type HttpAnswer, HttpClient } from '../http/client.ts';
import { errorDetail, statusError } from '../http/failure.ts';
import { parseUrl } from '../http/http.ts';
import type { Emitted, Step, StepContext, StepEnvironment, StepFactory } from '../step.ts';
import { parseAnswer, parseMetadata } from './protocol.ts';
import { hasBatch, inferBody, type ModelSignature, outputValue } from './tensors.ts';

type ModelAction = Extract<StepAction, { kind: 'model' }>;

/** Codes of a server whose model is not the one that the inputs were made for. */
const signatureErrors: ReadonlySet<unknown> = new Set([
  'WrongShape',
  'WrongDatatype',
  'UnknownInput',
  'MissingInput',
  'InvalidInput',
]);

/**
 * Runs a model on each event: `inputs` give one row, which is checked against the model's metadata before it is sent.
 * Emits the outputs by name with `model` and `version`, or what `output` makes of them.
 *
 * @throws LevadaError ExpressionInvalid, InvalidValue
 */
export const modelStep: StepFactory<'model'> = (action, environment) => new ModelStep(action, environment);

class ModelStep implements Step {
  readonly #action: ModelAction;
  readonly #environment: StepEnvironment;
  readonly #client: HttpClient;
  readonly #url: URL;
  /** What errors call it. */
  readonly #name: string;
  readonly #inputs: Template;
  readonly #output: Expression | undefined;
  readonly #sticky: Expression | undefined;
  /** Versions that have answered: several share the traffic, and take and give the same. */
  readonly #versions = new Set<string>();
  /** The last one that was seen. A promise, so that messages that start together ask once. */
  #signature: Promise<ModelSignature> | undefined;

  constructor(action: ModelAction, environment: StepEnvironment) {
    this.#action = action;
    this.#environment = environment;
    this.#inputs = compileTemplate(action.inputs);
    this.#output = action.output === undefined ? undefined : outputExpression(action.output);
    this.#sticky = action.sticky === undefined ? undefined : compileExpression(action.sticky, { variables: ['event'] });
    this.#url = new URL(`/v2/models/${encodeURIComponent(action.ref)}`, parseUrl(action.url));
    this.#name = displayUrl(this.#url);
    this.#client = new HttpClient(action.timeoutMs);
  }

  async run(event: Event, context: StepContext): Promise<Emitted[]> {
    const variables = { event: attributesOf(event.message) };
    const values = (await this.#inputs.render(event.data, variables)) as Record<string, unknown>;
    const key = this.#sticky && keyOf(this.#sticky, await this.#sticky.evaluate(event.data, variables));
    const { answer, signature } = await this.#ask(values, key, deadlineIn(this.#action.timeoutMs), context);
    const { model, version, outputs } = parseAnswer(answer.body, this.#name);
    const oneRow = signature.inputs.every(hasBatch);
    const byName = Object.fromEntries(outputs.map((output) => [output.name, outputValue(output, oneRow)]));
    if (!this.#output) {
      return [{ data: { ...byName, model: model || this.#action.ref, version: version ?? signature.version } }];
    }
    const data = await this.#output.evaluate(event.data, { ...variables, outputs: byName });
    if (data !== undefined) return [{ data }];
    throw new LevadaError('ExpressionFailed', { expression: this.#output.text, detail: 'it gave nothing' });
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  /**
   * The model's answer, a 2xx, and the signature that the inputs were checked against. What does not fit a signature
   * that was fetched earlier is held against a new one: another version may serve by now.
   */
  async #ask(
    values: Record<string, unknown>,
    key: string | undefined,
    deadline: Deadline,
    context: StepContext,
  ): Promise<Asked> {
    for (let isFresh = this.#signature === undefined; ; isFresh = true) {
      const known = this.#known(deadline, context);
      const signature = await abortable(known, context.signal);
      let body: string;
      try {
        body = inferBody(signature, values);
      } catch (error) {
        if (isFresh) throw error;
        this.#forget(known);
        continue;
      }
      const headers = key === undefined ? {} : { [stickyKeyHeader]: key };
      const answer = await this.#call('POST', '/infer', { body, headers, deadline, context, signal: context.signal });
      const version = String(answer.headers['x-levada-version'] ?? signature.version);
      const misfits = answer.status === 400 && signatureErrors.has(answer.headers['x-levada-error']);
      const isNew = !this.#versions.has(version);
      this.#versions.add(version);
      if ((isNew && version !== signature.version) || misfits) this.#forget(known);
      if (misfits && !isFresh) continue;
      const failure = this.#failure(answer);
      if (failure) throw failure;
      const rollout = answer.headers[trialHeader];
      if (typeof rollout === 'string') context.scored({ rollout, version });
      return { answer, signature };
    }
  }

  #known(deadline: Deadline, context: StepContext): Promise<ModelSignature> {
    if (this.#signature !== undefined) return this.#signature;
    // Others may wait for it as well: it is not one message's to abort.
    const { signal } = new AbortController();
    const fetched = this.#call('GET', '', { headers: {}, deadline, context, signal }).then((answer) => {
      const failure = this.#failure(answer);
      if (failure) throw failure;
      const version = answer.headers['x-levada-version'];
      return parseMetadata(answer.body, this.#name, typeof version === 'string' ? version : undefined);
    });
    fetched.catch(() => this.#forget(fetched));
    this.#signature = fetched;
    return fetched;
  }

  #forget(signature: Promise<ModelSignature>): void {
    if (this.#signature === signature) this.#signature = undefined;
  }

  async #call(
    method: 'GET' | 'POST',
    path: string,
    { body, headers, deadline, context: { traceparent, tracestate }, signal }: Call,
  ): Promise<HttpAnswer> {
    const { origin, pathname } = this.#environment.resolve(this.#url);
    return this.#client.call({
      method,
      url: new URL(`${pathname}${path}`, origin),
      name: this.#name,
      headers: {
        ...headers,
        traceparent,
        ...(tracestate !== undefined && { tracestate }),
        accept: 'application/json',
        'accept-encoding': 'identity',
        'user-agent': 'levada',
        'x-request-timeout-ms': String(Math.max(1, Math.ceil(deadline.at - performance.now()))),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(body !== undefined && { body }),
      deadline,
      signal,
    });
  }

  /** What a refusal of the server means: as of a handler, but that its code says more than the status. */
  #failure(answer: HttpAnswer): LevadaError | undefined {
    const { status, headers } = answer;
    if (status === 504) {
      return new LevadaError('HandlerTimeout', { url: this.#name, found: this.#action.timeoutMs });
    }
    const code = errorCodeOf({ code: headers['x-levada-error'] });
    const detail = serverDetail(answer, code);
    // The model has thrown on this input, or gave NaN: it would do so again.
    if (status >= 500 && code !== undefined && errors[code].outcome === 'terminal') {
      return new LevadaError('HandlerRejected', { status, detail });
    }
    return statusError(answer, this.#name, Date.now(), detail);
  }
}

const outputExpression = (text: string): Expression =>
  compileExpression(unwrapExpression(text) ?? text, { variables: ['event', 'outputs'] });

interface Call {
  readonly body?: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly deadline: Deadline;
  readonly context: StepContext;
  readonly signal: AbortSignal;
}

/** As a header carries it: its UTF-8 bytes, which is what HTTP callers send as well. @throws LevadaError ExpressionWrongType */
function keyOf({ text: expression }: Expression, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined; // an event without a key
  const text = typeof value === 'number' ? String(value) : value;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a header cannot carry them
  if (typeof text !== 'string' || /[\x00-\x1f\x7f]/.test(text)) {
    throw new LevadaError('ExpressionWrongType', {
      expression,
      found: show(value),
      allowed: 'text without control characters, or a number',
    });
  }
  return Buffer.from(text).toString('latin1');
}

interface Asked {
  readonly answer: HttpAnswer;
  readonly signature: ModelSignature;
}

/** `WrongShape: inputs[0].shape: …`: the code, and the message out of the protocol's body. */
function serverDetail(answer: HttpAnswer, code: string | undefined): string {
  const whole = errorDetail(answer);
  if (code === undefined) return whole;
  try {
    const { error } = JSON.parse(Buffer.from(answer.body).toString('utf8')) as { error?: unknown };
    return `${code}: ${typeof error === 'string' ? printable(error, 200) : whole}`;
  } catch {
    return `${code}: ${whole}`; // null, or no JSON
  }
}

/** What `promise` gives, unless `signal` is aborted before. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    const end = () => signal.removeEventListener('abort', onAbort);
    signal.addEventListener('abort', onAbort);
    promise.then(resolve, reject).then(end, end);
  });
}
