/** Characters of one message: the API server refuses all of a status that has more. */
export const messageLimit = 4096;

/** `text`, of which the status shows at most `limit` characters. */
export const bounded = (text: string, limit: number = messageLimit): string =>
  text.length > limit ? `${text.slice(0, limit - 1)}…` : text;
