// openai-node: chat completions, text completions, embeddings, models, responses, errors, aborts.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { all, BASE_URL, described, FAKE_BASE_URL, isFreed, KEY, MODEL, run, shapes } from "./cases.mjs";

const client = new OpenAI({ baseURL: BASE_URL, apiKey: KEY, maxRetries: 0 });
const fake = new OpenAI({ baseURL: FAKE_BASE_URL, apiKey: KEY, maxRetries: 0 });

const Weather = z.object({
  city: z.enum(["Kyoto", "Sapporo", "Naha"]),
  is_raining: z.boolean(),
  sky: z.enum(["blue", "grey", "black"]).nullable(),
});
const Place = z.object({ city: z.enum(["Kyoto", "Sapporo", "Naha"]) });

const chat = { model: MODEL, messages: shapes.question, temperature: 0, max_tokens: 24 };
const shaped = { ...chat, max_tokens: shapes.max_tokens };
const required = { ...shaped, tools: shapes.tools, tool_choice: "required", parallel_tool_calls: false };
const named = { ...shaped, tools: shapes.tools, tool_choice: shapes.named };
const ask = { model: MODEL, input: "What is the weather in Kyoto?", max_output_tokens: 24, temperature: 0 };
const long = { model: "m", messages: [{ role: "user", content: "count 100000 5" }] };

const complete = (options = {}) => client.chat.completions.create({ ...chat, ...options });
const stream = (options = {}) => all(client.chat.completions.create({ ...chat, ...options, stream: true }));

await run({
  plain: () => complete(),
  streamed: () => stream(),
  usage: () => stream({ stream_options: { include_usage: true } }),
  helper: async () => {
    const helper = client.chat.completions.stream({ ...chat, stop: ["a", "e"] });
    const deltas = [];
    helper.on("content", (delta) => deltas.push(delta));
    const final = await helper.finalChatCompletion();
    return { deltas, final };
  },
  n: () => complete({ n: 2, temperature: 1.5, seed: 3 }),
  logprobs: () => complete({ logprobs: true, top_logprobs: 2 }),
  stop: () => complete({ stop: ["a", "e"] }),
  seed: () => Promise.all([1, 1, 2].map((seed) => complete({ seed, temperature: 1.5 }))),
  response: async () => {
    const { data, response, request_id } = await client.chat.completions.create(chat).withResponse();
    return { id: data.id, status: response.status, request_id };
  },

  required: () => client.chat.completions.create(required),
  named: () => client.chat.completions.create(named),
  streamed_call: () => all(client.chat.completions.create({ ...named, stream: true })),
  helper_call: async () => {
    const helper = client.chat.completions.stream(named);
    return helper.finalChatCompletion();
  },
  auto: () => client.chat.completions.create({ ...shaped, tools: shapes.tools }),
  run_tools: async () => {
    const called = [];
    const sky = { type: "function", function: { ...shapes.tools[0].function, parse: JSON.parse, function: look } };
    function look(place) {
      called.push(place);
      return JSON.stringify({ sky: "grey" });
    }
    const options = { ...shaped, tools: [sky], tool_choice: shapes.named };
    await client.chat.completions.runTools(options).done();
    return called;
  },
  parsed: () => client.chat.completions.parse({ ...shaped, response_format: zodResponseFormat(Weather, "weather") }),
  parsed_stream: () =>
    client.chat.completions.stream({ ...shaped, response_format: zodResponseFormat(Weather, "weather") }).finalChatCompletion(),
  parsed_call: () =>
    client.chat.completions.parse({
      ...shaped,
      tools: [zodFunction({ name: "look", parameters: Place })],
      tool_choice: { type: "function", function: { name: "look" } },
    }),

  completion: () => client.completions.create({ model: MODEL, prompt: "Once upon", max_tokens: 8, temperature: 0 }),
  completion_stream: () =>
    all(client.completions.create({ model: MODEL, prompt: "Once upon", max_tokens: 8, temperature: 0, stream: true })),
  embeddings: () => client.embeddings.create({ model: MODEL, input: ["a", "b"] }),
  embeddings_float: () => client.embeddings.create({ model: MODEL, input: ["a", "b"], encoding_format: "float" }),
  models: async () => (await all(client.models.list())).map((model) => model.id),
  model: () => client.models.retrieve(MODEL),

  responses: () => client.responses.create(ask),
  responses_stream: () => all(client.responses.create({ ...ask, stream: true })),
  responses_helper: async () => client.responses.stream(ask).finalResponse(),
  responses_parsed: () =>
    client.responses.parse({
      ...ask,
      max_output_tokens: shapes.max_tokens,
      text: { format: zodTextFormat(Weather, "weather") },
    }),
  responses_call: () =>
    client.responses.create({
      ...ask,
      max_output_tokens: shapes.max_tokens,
      tools: shapes.flat_tools,
      tool_choice: { type: "function", name: "get_weather" },
    }),
  responses_conversation: async () => {
    const first = await client.responses.create(ask);
    const second = await client.responses.create({ ...ask, previous_response_id: first.id });
    return [first.usage.input_tokens, second.usage.input_tokens];
  },

  bad_request: () => complete({ temperature: 3 }),
  bad_stream: () => stream({ temperature: 3 }),
  too_long: () => complete({ messages: [{ role: "user", content: "x".repeat(40_000) }] }),
  unknown_model: () => complete({ model: "nobody" }),
  wrong_key: () => client.withOptions({ apiKey: "wrong" }).chat.completions.create(chat),
  unknown_url: () => client.files.list(),
  engine_died: () =>
    fake.chat.completions.create({ model: "mortal-node", messages: [{ role: "user", content: "killer 2" }] }),
  late_error: async () => {
    const texts = [];
    const messages = [{ role: "user", content: "late internal_error" }];
    try {
      for await (const chunk of await fake.chat.completions.create({ model: "m", messages, stream: true })) {
        texts.push(chunk.choices[0].delta.content ?? "");
      }
    } catch (error) {
      return { texts, error: described(error) };
    }
    return { texts };
  },

  break: async () => {
    let n = 0;
    for await (const _ of await fake.chat.completions.create({ ...long, stream: true })) {
      n += 1;
      break;
    }
    return { n, is_freed: await isFreed() };
  },
  abort: async () => {
    const controller = new AbortController();
    const chunks = await fake.chat.completions.create({ ...long, stream: true }, { signal: controller.signal });
    let n = 0;
    for await (const _ of chunks) {
      n += 1;
      controller.abort();
    }
    return { n, is_freed: await isFreed() };
  },
  abort_plain: async () => {
    const controller = new AbortController();
    const answer = fake.chat.completions.create(long, { signal: controller.signal });
    setTimeout(() => controller.abort(), 300);
    const error = await answer.catch(described);
    return { class: error.class, is_freed: await isFreed() };
  },
  timeout: async () => {
    const error = await fake.chat.completions.create(long, { timeout: 300 }).catch(described);
    return { class: error.class, is_freed: await isFreed() };
  },
});
