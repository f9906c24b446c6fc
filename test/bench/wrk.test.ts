import { expect, test } from 'vitest';
import { parseWrkOutput } from './wrk.ts';

const report = (errors: string) => `Running 2s test @ http://127.0.0.1:33387/predict
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   754.64us    2.48ms  36.69ms   94.13%
    Req/Sec    40.88k    23.09k   72.37k    50.00%
  81035 requests in 2.01s, 12.44MB read
Requests/sec:  40385.16
Transfer/sec:      6.20MB
RESULT {"durationUs":2006554,"requests":81035,"p50Us":173,"p99Us":9334,"maxUs":36692,"errors":${errors}}
`;

test('figures come from the line that wrk.lua prints', () => {
  const result = parseWrkOutput(report('{"connect":0,"read":0,"write":0,"status":0,"timeout":0}'));
  expect(result).toMatchObject({ requests: 81035, p50Ms: 0.173, p99Ms: 9.334, maxMs: 36.692, errors: 0 });
  expect(result.rate).toBeCloseTo(40385.16, 1);
  expect(result.seconds).toBeCloseTo(2.006554);
});

test('every kind of error counts', () => {
  expect(parseWrkOutput(report('{"connect":1,"read":2,"write":3,"status":4,"timeout":5}')).errors).toBe(15);
});

test('output without a result is an error that shows the output', () => {
  expect(() => parseWrkOutput('unable to connect to 127.0.0.1:1 Connection refused')).toThrow('Connection refused');
});
