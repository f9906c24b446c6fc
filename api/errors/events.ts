import { define } from './definition.ts';

/** What ends an attempt of a step. The outcome decides: `terminal` is a dead letter, `retry` and `wait` another attempt. */
export const eventErrors = define({
  HandlerRejected: {
    outcome: 'terminal',
    message: 'the handler answered {status}: {detail}',
    remedy: 'Mend the event or the handler, then `levada dlq NAME replay`.',
  },
  HandlerBusy: {
    outcome: 'retry',
    message: 'the handler answered {status}: {detail}',
    remedy: 'Give the handler more replicas, or the step less `concurrency`.',
  },
  HandlerFailed: {
    outcome: 'retry',
    message: 'the handler answered {status}: {detail}',
    remedy: "Look into the handler's log.",
  },
  HandlerUnavailable: {
    outcome: 'wait',
    message: '{url} is not there: {detail}',
    remedy: 'Start the handler. Messages wait, and no attempt is counted, while the breaker is open.',
  },
  HandlerTimeout: {
    outcome: 'retry',
    message: '{url} did not answer within {found} ms',
    remedy: "Look for what the handler waits for, or raise the step's `timeout`.",
  },
  HandlerClosed: {
    outcome: 'retry',
    message: '{url} closed the connection before its answer was complete: {detail}',
    remedy: "Look into the handler's log: it may have died.",
  },
  HostUnknown: {
    outcome: 'wait',
    message: 'the host {found} does not resolve: {detail}',
    remedy: 'Correct the URL. On a laptop `services` and `hosts` in levada.local.yaml give names an address.',
  },
  ReplyTooLarge: {
    outcome: 'terminal',
    message: 'the reply of {url} is larger than {limit} bytes',
    remedy: 'Reply with less; put large things elsewhere and reply with their address.',
  },
  ReplyInvalid: {
    outcome: 'terminal',
    message: 'the reply of {url} is not what was agreed: {detail}',
    remedy: 'Reply with 204, JSON, or a CloudEvent; docs/guides/handlers.md has examples.',
  },
  EventUndeclared: {
    outcome: 'terminal',
    message: 'the reply has the type {found}; the step declares: {allowed}',
    remedy: 'Add the type to `emits` of the step, or correct the reply.',
  },
  MessageInvalid: {
    outcome: 'terminal',
    message: 'the message cannot be read: {detail}',
    remedy: 'Find out who sent it; `levada dlq NAME show` has its bytes.',
  },
  MessageTooLarge: {
    outcome: 'terminal',
    http: 413,
    message: 'the message has {found} bytes; a broker takes at most {limit}',
    remedy: 'Put large things elsewhere and send their address.',
  },
  ExpressionFailed: {
    outcome: 'terminal',
    http: 422,
    message: '{expression}: {detail}',
    remedy: 'Mend the expression for such data; `levada dlq NAME show` has the event.',
  },
  ExpressionLimit: {
    outcome: 'terminal',
    http: 422,
    message: '{expression}: {detail}',
    remedy: 'An expression may take so many steps and no more. Compute it in a handler.',
  },
  ExpressionWrongType: {
    outcome: 'terminal',
    http: 422,
    message: '{expression}: found {found}; allowed: {allowed}',
    remedy: 'Make the expression give a value of that type for every event.',
  },
  ModelInputMismatch: {
    outcome: 'terminal',
    message: '{field}: found {found}; model {model} takes {allowed}',
    remedy: 'Correct `inputs` of the step; GET /v2/models/NAME shows what the model takes.',
  },
});
