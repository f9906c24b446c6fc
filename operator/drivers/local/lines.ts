import { StringDecoder } from 'node:string_decoder';

/** Characters of a line that are kept: output without line ends must not fill the memory. */
const maxLine = 65_536;

/** Calls `line` with each line of a stream, without its end. A longer one than 64 Ki characters comes in pieces. */
export function eachLine(stream: NodeJS.ReadableStream, line: (text: string) => void): void {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  stream.on('data', (chunk: Buffer) => {
    const parts = (rest + decoder.write(chunk)).split('\n');
    rest = parts.pop() ?? '';
    for (const part of parts) line(part.endsWith('\r') ? part.slice(0, -1) : part);
    while (rest.length >= maxLine) {
      line(rest.slice(0, maxLine));
      rest = rest.slice(maxLine);
    }
  });
  stream.on('end', () => {
    rest += decoder.end();
    if (rest) line(rest);
  });
}
