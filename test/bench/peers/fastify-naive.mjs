// Model serving as anybody would write it in Node: Fastify, one `run` a request.
// MODEL (an ONNX file), PORT (0: any free one), CLASS_NAMES (comma-separated).
import fastify from 'fastify';
import { InferenceSession, Tensor } from 'onnxruntime-node';

const classNames = (process.env.CLASS_NAMES ?? 'setosa,versicolor,virginica').split(',');
// One thread, like every other peer: the whole server has one core.
const session = await InferenceSession.create(process.env.MODEL ?? process.argv[3], {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
});
const [input] = session.inputNames;
const [label] = session.outputNames;

const app = fastify();
app.get('/health', async () => ({ status: 'ok', model_loaded: true }));
app.post('/predict', async (request) => {
  const { features } = request.body;
  const tensor = new Tensor('float32', Float32Array.from(features), [1, features.length]);
  const outputs = await session.run({ [input]: tensor }, [label]);
  const prediction = Number(outputs[label].data[0]);
  return { prediction, class_name: classNames[prediction] };
});
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? process.argv[2] ?? 0) });
process.stdout.write(`LISTENING ${app.server.address().port}\n`);
